"""A worker that does nothing, until SIGTERM; `STANDIN_WORKER` makes it difficult."""

import os
import signal
import subprocess
import sys
import time

behaviour = os.environ.get("STANDIN_WORKER", "")
print(f"stand-in worker {sys.argv[1:]} {behaviour}", flush=True)
if behaviour == "broken":
    sys.exit("this worker cannot start")
if behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", stubborn])  # a grandchild
while True:
    time.sleep(1)
