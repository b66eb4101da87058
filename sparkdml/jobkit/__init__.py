"""What the scripts in ``jobs/`` share: session, command line, logs, exit codes, published output.

Nothing in sparkdml outside this folder imports it. What it promises schedulers and operators: one JSON object
as the last line of stdout, exit codes after ``sysexits(3)``, an output that is either complete or not there.
"""
