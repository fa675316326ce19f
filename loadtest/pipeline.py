"""Carries out many flows of the library at once: the commands of all of them go out together, in their order.

The library's own service sends one operation's commands and waits. In virtual time, what happens at one instant is in
flight together, so one round trip serves all of it.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import hiredis

from cache import commands
from cache.commands import Compute, Send, Unavailable, Wait
from loadtest.errors import LoadTestError, ServerGoneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from cache.commands import Command, Flow, Reply

_RECEIVE_BYTES: Final = 1 << 16
_pack: Any = hiredis.pack_command  # its annotation refuses tuples of a union
_SEND_AT_ONCE: Final = 64  # commands; the server works on the first while the next are being packed
_UNDER_WAY: Final = 4  # tasks of `run_apart`: enough that neither side waits
_DOWN: Final = Unavailable("node lost")
_ROUNDS_AT_MOST: Final = 10_000  # of one instant: a flow that waits for ever is a defect


@dataclass(slots=True)
class Task:
    """A flow under way: who computes for it, who is told when it has ended.

    `sent` sees the commands of each round trip, `then` begins when it has ended. `answer` is what the flow is sent
    next, at the end its result; `sends` counts its round trips.
    """

    flow: Flow[Any]
    compute: Callable[..., Any] | None = None
    done: Callable[[Task], None] | None = None
    then: tuple[Task, ...] = ()
    sent: Callable[[Sequence[Command]], None] | None = None
    answer: Any = field(default=None, init=False)
    sends: int = field(default=0, init=False)


class Pipeline:
    """A connection by unix socket. Raises LoadTestError when the server goes or refuses a command."""

    def __init__(
        self,
        path: Path,
        *,
        on_replies: Callable[[Sequence[Command], Sequence[Reply]], None] | None = None,
    ) -> None:
        """`on_replies` sees every command with its reply."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._reader = hiredis.Reader()
        self._on_replies = on_replies
        self.commands_sent = 0
        # While it is, `run` sends nothing and the flows are told that nobody answers.
        self.is_down = False
        try:
            self._socket.connect(str(path))
        except OSError as error:
            raise LoadTestError(f"no server at {path}: {error.strerror}.") from None
        for text in commands.SCRIPTS.values():
            self.send((("SCRIPT", "LOAD", text),))

    def close(self) -> None:
        self._socket.close()

    def run(self, tasks: list[Task]) -> None:
        """Carries out all of them, each step of every flow together with those of the others."""
        try:
            self._run(tasks)
        except BaseException as error:
            _end(tasks, error)
            raise

    def _run(self, tasks: list[Task]) -> None:
        for _ in range(_ROUNDS_AT_MOST):
            waiting: list[tuple[Task, int]] = []
            again: list[Task] = []
            batch: list[Command] = []
            for task in tasks:
                step = self._advance(task)
                if isinstance(step, Send):
                    task.sends += 1
                    if task.sent:
                        task.sent(step.commands)
                    batch += step.commands
                    waiting.append((task, len(step.commands)))
                elif isinstance(step, Wait):
                    task.answer = None
                    again.append(task)
                elif task.then:
                    tasks += task.then  # in this very round
            if batch:
                self._answer(waiting, batch)
            # Whoever waits for another's value looks again behind those who had something to send.
            tasks = [task for task, _ in waiting] + again
            if not tasks:
                return
        raise LoadTestError("operations of one instant wait for each other without end; this is a defect.")

    def _answer(self, waiting: list[tuple[Task, int]], batch: list[Command]) -> None:
        """Sends the commands of all of them, and gives each task the replies to its own."""
        if self.is_down:
            for task, _ in waiting:
                task.answer = _DOWN
            return
        replies = self.send(batch)
        start = 0
        for task, count in waiting:
            task.answer = replies[start : start + count]
            start += count

    def run_apart(self, tasks: Iterable[Task]) -> None:
        """Carries out tasks that do not depend on each other: the server works on one while others are prepared."""
        under_way: deque[tuple[Task, tuple[Command, ...]]] = deque()
        for task in tasks:
            self._post_next(task, under_way)
            if len(under_way) == _UNDER_WAY:
                self._answer_oldest(under_way)
        while under_way:
            self._answer_oldest(under_way)

    def _answer_oldest(self, under_way: deque[tuple[Task, tuple[Command, ...]]]) -> None:
        task, batch = under_way.popleft()
        task.answer = self._take(batch)
        self._post_next(task, under_way)

    def _post_next(self, task: Task, under_way: deque[tuple[Task, tuple[Command, ...]]]) -> None:
        step = self._advance(task)
        if isinstance(step, Send):
            self._post(step.commands)
            under_way.append((task, step.commands))
        elif step is not None:
            raise LoadTestError("an independent task waits for another; this is a defect.")

    def call(self, flow: Flow[Any], compute: Callable[..., Any] | None = None) -> Any:
        """Carries out one flow and returns its result."""
        task = Task(flow, compute)
        self.run([task])
        return task.answer

    def send(self, batch: Sequence[Command]) -> list[Reply]:
        """One round trip."""
        self._post(batch)
        return self._take(batch)

    def _post(self, batch: Sequence[Command]) -> None:
        try:
            for start in range(0, len(batch), _SEND_AT_ONCE):
                packed = b"".join([_pack(words) for words in batch[start : start + _SEND_AT_ONCE]])
                self._socket.sendall(packed)
        except OSError as error:
            raise ServerGoneError(f"the server went away: {error.strerror or error}.") from None
        self.commands_sent += len(batch)

    def _take(self, batch: Sequence[Command]) -> list[Reply]:
        """The replies to what was posted first and not taken yet."""
        try:
            replies = self._receive(len(batch))
        except OSError as error:
            raise ServerGoneError(f"the server went away: {error.strerror or error}.") from None
        if hiredis.ReplyError in map(type, replies):
            refused = next(i for i, reply in enumerate(replies) if type(reply) is hiredis.ReplyError)
            raise LoadTestError(f"the server refused {batch[refused][0]!r}: {replies[refused]}.")
        if self._on_replies:
            self._on_replies(batch, replies)
        return replies

    def _advance(self, task: Task) -> Send | Wait | None:
        """Lets the flow run until it has something to send, waits, or ends (None)."""
        try:
            step = task.flow.send(task.answer)
            while isinstance(step, Compute):
                assert task.compute is not None
                step = task.flow.send(task.compute(*step.arguments))
        except StopIteration as end:
            task.answer = end.value
            if task.done:
                task.done(task)
            return None
        return step

    def _receive(self, count: int) -> list[Reply]:
        replies: list[Reply] = []
        read_one = self._reader.gets
        for _ in range(count):
            while (reply := read_one()) is False:
                received = self._socket.recv(_RECEIVE_BYTES)
                if not received:
                    raise OSError("it closed the connection")
                self._reader.feed(received)
            replies.append(reply)
        return replies


def _end(tasks: Iterable[Task], error: BaseException) -> None:
    """Lets flows that nobody goes on with clean up: what they still want to send is not answered."""
    for task in tasks:
        with contextlib.suppress(BaseException):
            task.flow.throw(error)
            while True:
                task.flow.send(Unavailable("the run has ended"))
