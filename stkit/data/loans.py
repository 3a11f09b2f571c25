"""Memory that threads share: each borrows what it is going to take, and gives it back."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Loan:
    """Bytes that one thread has of a `Memory`."""

    def __init__(self, memory: "Memory", amount: int) -> None:
        self.memory, self.amount = memory, amount

    def change(self, amount: int) -> bool:
        """Have so many instead, if they are free now: who waited while holding some could wait
        for another that does the same."""
        return self.memory.exchange(self, amount)


class Memory:
    """So many bytes, lent to threads that wait while others have them.

    A loan of more than there is takes all: then nobody else decodes meanwhile.
    """

    def __init__(self, total: int) -> None:
        self.total = self.free = total
        self.changed = threading.Condition()

    @contextmanager
    def lent(self, amount: int) -> Iterator[Loan]:
        """Borrow so many, once they are free."""
        loan = Loan(self, 0)
        with self.changed:
            self.changed.wait_for(lambda: self.exchange(loan, amount))
        try:
            yield loan
        finally:
            self.exchange(loan, 0)

    def exchange(self, loan: Loan, amount: int) -> bool:
        """Let a loan have so many bytes from now on, unless they are not free."""
        amount = min(amount, self.total)
        with self.changed:
            if amount - loan.amount > self.free:
                return False
            if amount < loan.amount:
                self.changed.notify_all()
            self.free -= amount - loan.amount
            loan.amount = amount
            return True


def trim() -> None:
    """Give what was freed back to the system: each thread of glibc's would keep its share."""
    with suppress(AttributeError, TypeError, OSError):  # macOS, musl; Windows
        ctypes.CDLL(None).malloc_trim(0)
