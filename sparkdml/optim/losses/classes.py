"""What margins say of the classes, whose number K is that of the margins, or of a binomial model two."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, softmax


def class_margins(z: np.ndarray) -> np.ndarray:
    """Return the margins of two classes, -z and z, (n, 2), of that of class 1, z (n, 1).

    >>> class_margins(np.array([[2.0]]))
    array([[-2.,  2.]])
    """
    return np.hstack([-z, z])


def class_probabilities(z: np.ndarray, multinomial: bool) -> np.ndarray:
    """Return P(y = k) ~ exp(z_k) of a multinomial model, else P(y = 1) = 1 / (1 + exp(-z)): (n, C) to (n, K).

    NaN where a margin is.

    >>> class_probabilities(np.array([[0.0]]), False), class_probabilities(np.array([[1.0, 1.0]]), True)
    (array([[0.5, 0.5]]), array([[0.5, 0.5]]))
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(softmax(z, axis=1)) if multinomial else expit(class_margins(z))


def most_probable(probability: np.ndarray, thresholds: Sequence[float] | None) -> np.ndarray:
    """The class of the largest probability / threshold, the first of equal ones, as in pyspark.ml: (n, K) to (n,).

    A class of threshold zero is predicted unless its probability is zero.

    >>> most_probable(np.array([[0.5, 0.3, 0.2], [0.5, 0.5, 0.0]]), [1.0, 0.5, 0.0])
    array([2, 1])
    """
    if thresholds is None:
        return np.argmax(probability, axis=1)
    scaled = np.divide(probability, thresholds, out=np.zeros_like(probability), where=np.array(thresholds) > 0.0)
    return np.argmax(np.where((np.array(thresholds) == 0.0) & (probability > 0.0), np.inf, scaled), axis=1)


def single_threshold(thresholds: Sequence[float]) -> float:
    """The threshold of the probability of a 1 that those of two classes stand for.

    >>> single_threshold([0.75, 0.25])
    0.25
    """
    low, high = thresholds
    return high / (low + high)
