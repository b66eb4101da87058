"""Is there a Java that Spark can run on? Asked before Spark is, since its own answer is a stack trace.

Only the standard library is imported: ``python sparkdml/jobkit/java.py`` works before anything is installed.
As a command it is silent with exit 0, or one sentence on stderr with exit 78.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_JAVA = 17  # what Spark 4 is compiled for
_ADVICE = f"install Java {OLDEST_JAVA} or newer (openjdk-{OLDEST_JAVA}-jre-headless) or set JAVA_HOME to one"


def java_command() -> str | None:
    """The Java that Spark will run, or None; Spark's own order: JAVA_HOME alone where it is set, else the PATH."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=str(Path(home, "bin")) if home else None)


def java_problem() -> str | None:
    """One sentence: what is missing and what to install; None if Spark will find a Java it can run on."""
    java = java_command()
    if java is None:
        home = os.environ.get("JAVA_HOME")
        where = f"in JAVA_HOME ({home})" if home else "on the PATH"
        return f"Spark needs Java, and there is none {where}: {_ADVICE}."
    version = _version(java)
    if version is None:
        return f"Spark needs Java, and {java} does not run: {_ADVICE}."
    if version < OLDEST_JAVA:
        return f"Spark needs Java {OLDEST_JAVA} or newer, and {java} is Java {version}: {_ADVICE}."
    return None


def _version(java: str) -> int | None:
    """17 for ``version "17.0.15"``, 8 for ``version "1.8.0_392"``; None if it cannot be run."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Up to Java 8 the feature release was the second number.
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(found[1]) if found and done.returncode == 0 else None


if __name__ == "__main__":
    problem = java_problem()
    if problem:
        print(problem, file=sys.stderr)
        sys.exit(os.EX_CONFIG)
