"""Every measurement, or those that are named: `python -m bench [name ...]`."""

import subprocess
import sys

SUBJECTS = ("import_time", "requests", "latency", "tick", "memory", "throughput", "detection")

if __name__ == "__main__":
    for subject in sys.argv[1:] or SUBJECTS:
        if subject not in SUBJECTS:
            sys.exit(f"{subject!r} is none of {', '.join(SUBJECTS)}")
        subprocess.run([sys.executable, "-m", f"bench.{subject}"], check=True)
        print(flush=True)
