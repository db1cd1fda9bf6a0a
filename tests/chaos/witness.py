"""The task of the chaos suite, and its journal: one append a started body, outside database and broker."""

import os
import time

from taskd import BaseTask
from taskd.celery_app import app


@app.task(bind=True, name="t.witness")
def witness(self: BaseTask, seconds: float = 0, *_: object) -> None:
    """Note which run has started, and which process composed its message."""
    file = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{self.request.id} {self.request.origin}\n".encode())
    os.close(file)
    time.sleep(seconds)
