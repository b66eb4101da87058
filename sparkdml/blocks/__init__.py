"""From a DataFrame to blocks of NumPy arrays that live beside the executors."""
