"""Images on their way to the device: all of them there when they fit, else sent ahead of their use.

A set that does not fit stays where it is (a dataset file is memory-mapped, so that is the disk and
the system's cache), and a thread gathers the batches to come into pinned memory and sends them on a
stream of its own while the device computes.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from stkit.engine.runtime import Runtime

ROOM = 0.4  # the share of a GPU's free memory that a set may take
AHEAD = 3  # batches under way

Batch = tuple[Tensor, Tensor]


class Feed:
    """uint8 images [N,3,H,W] and labels [N], by rows, on the runtime's device.

    resident: whether all of them lie there. ahead: as with a GPU too small for the set (for tests).
    """

    def __init__(self, images: Tensor, labels: Tensor, runtime: Runtime, *, ahead: bool = False):
        self.runtime = runtime
        self.resident = not ahead and images.nbytes <= ROOM * runtime.room()
        self.images = runtime.place(images) if self.resident else images
        self.labels = runtime.place(labels) if self.resident else labels

    def rows(self, rows: Tensor) -> Tensor:
        """Rows, moved to where they are looked up."""
        return self.runtime.place(rows) if self.resident else rows.cpu()

    def take(self, rows: Tensor) -> Batch:
        """The images and labels of these rows, now."""
        rows = self.rows(rows)
        place = self.runtime.place
        return place(self.images[rows]), place(self.labels[rows])

    def batches(self, batches: Iterable[Tensor]) -> Iterator[Batch]:
        """`take` for each of these rows in turn, where need be some batches ahead of their use."""
        if self.resident:
            yield from map(self.take, batches)
            return
        with ThreadPoolExecutor(1) as thread:
            under_way: deque[Future[tuple[Batch, torch.cuda.Event | None]]] = deque()
            device = self.runtime.device
            stream = torch.cuda.Stream(device) if device.type == "cuda" else None
            todo = iter(batches)
            try:
                while True:
                    for rows in todo:
                        under_way.append(thread.submit(self._send, self.rows(rows), stream))
                        if len(under_way) == AHEAD:
                            break
                    if not under_way:
                        return
                    batch, sent = under_way.popleft().result()
                    if sent is not None:
                        current = torch.cuda.current_stream()
                        current.wait_event(sent)
                        for tensor in batch:
                            tensor.record_stream(current)
                    yield batch
            finally:
                for future in under_way:
                    future.cancel()

    def _send(
        self, rows: Tensor, stream: "torch.cuda.Stream | None"
    ) -> tuple[Batch, "torch.cuda.Event | None"]:
        """Gather a batch and send it; with an event that says when it has arrived."""
        if stream is None:
            return self.take(rows), None
        with torch.cuda.stream(stream):  # all of it: a thread starts on GPU 0
            shape = (len(rows), *self.images.shape[1:])
            pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            torch.index_select(self.images, 0, rows, out=pixels)
            labels = self.labels[rows].pin_memory()
            batch = self.runtime.place(pixels), self.runtime.place(labels)
            sent = torch.cuda.Event()
            sent.record(stream)
        return batch, sent
