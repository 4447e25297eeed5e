"""`Thread`: what is known of one thread, namespace by namespace."""

from __future__ import annotations

from collections.abc import Iterator

from langgraph_sessionstore.held import Held
from sessionstore import OutageError

__all__ = ["Thread"]

_ABOVE = "|"  # between the namespaces of a graph and of its subgraph
_TASK = ":"  # in the namespace of a subgraph that begins anew with each task


class Thread:
    """What is known of a thread.

    Args:
        thread_id: Its id.

    Attributes:
        thread_id: Its id.
        namespaces: The checkpoints that are known, by namespace and id.
        changes: How often something was put here, so that an older answer is not taken for newer.
        is_whole: It was empty when it was first seen: there is no namespace that is not known.
        is_begun: It was not seen before, and taken for empty or begun here in an outage.
        is_delta: It stores some of its channels as differences.
        is_torn: The journal holds something of it that can't be read.
    """

    __slots__ = (
        "_empty",
        "_forgot",
        "changes",
        "is_begun",
        "is_delta",
        "is_torn",
        "is_whole",
        "namespaces",
        "thread_id",
    )

    def __init__(self, thread_id: str, *, is_whole: bool = False) -> None:
        """Know nothing of it yet."""
        self.thread_id: str = thread_id
        self.namespaces: dict[str, dict[str, Held]] = {}
        self.changes: int = 0
        self.is_whole: bool = is_whole
        self.is_begun: bool = False
        self.is_delta: bool = False
        self.is_torn: bool = False
        self._empty: set[str] = set()
        self._forgot = False

    # -- Learning ---------------------------------------------------------------------------------

    def hold(self, namespace: str, checkpoint_id: str) -> Held:
        """Give what is held of a checkpoint, or begin to hold it."""
        self.changes += 1
        held = self.namespaces.setdefault(namespace, {})
        found = held.get(checkpoint_id)
        if found is None:
            found = held[checkpoint_id] = Held(checkpoint_id)
        self._empty.discard(namespace)
        return found

    def keep_latest(self, namespace: str, checkpoint_id: str) -> None:
        """Forget what the primary knows, and nobody needs to go on from a checkpoint."""
        held = self.namespaces[namespace]
        if len(held) > 1:
            newer = {key: each for key, each in held.items() if key >= checkpoint_id}
            self._forgot |= len(newer) < len(held)
            self.namespaces[namespace] = newer
        if len(self.namespaces) > 1 or self._empty:
            self._forget_finished(namespace, checkpoint_id)

    def _forget_finished(self, above: str, checkpoint_id: str) -> None:
        """Forget the subgraphs whose tasks ended when a checkpoint of the graph above was put."""
        for name in list(self.namespaces):
            if _is_task_of(name, above):
                latest = self.latest(name)
                if latest is None or latest.parents.get(above, "") < checkpoint_id:
                    self._forgot = True
                    del self.namespaces[name]
        self._empty = {name for name in self._empty if not _is_task_of(name, above)}

    def note_empty(self, namespace: str) -> None:
        """Take note that the primary knows nothing of a namespace."""
        self.namespaces.pop(namespace, None)
        if not namespace:
            self.is_whole = not self.namespaces
        self._empty.add(namespace)

    def forget_namespace(self, namespace: str) -> None:
        """Forget what the primary is about to tell anew, or may be asked for."""
        self._forgot |= len(self.namespaces.pop(namespace, {})) > 1

    def note_more(self) -> None:
        """Take note that the primary holds more of it than is known here."""
        self.is_whole = self.is_begun = False
        self._forgot = True

    def note_others(self, namespace: str) -> None:
        """Take note that others went on with it: what was known beside a namespace may be older."""
        self.note_more()
        if not namespace:
            self.namespaces.clear()
            self._empty.clear()

    # -- Giving -----------------------------------------------------------------------------------

    @property
    def is_unseen(self) -> bool:
        """Whether nothing was heard of it from the primary, and nothing put here."""
        return not (self.namespaces or self._forgot or self._empty or self.is_whole)

    @property
    def is_forgotten(self) -> bool:
        """Whether nothing of it is known but that it was seen."""
        return self._forgot and not self.namespaces

    def latest(self, namespace: str) -> Held | None:
        """Give the latest checkpoint of a namespace that is known."""
        held = self.namespaces.get(namespace, {})
        whole = [each for each in list(held.values()) if each.is_whole]
        return max(whole, key=_id, default=None)

    def all(self, namespace: str | None) -> Iterator[tuple[str, Held]]:
        """Give the checkpoints of one namespace or of all, the newest first."""
        for name, held in dict(self.namespaces).items():
            if namespace is None or name == namespace:
                whole = [each for each in list(held.values()) if each.is_whole]
                for each in sorted(whole, key=_id, reverse=True):
                    yield name, each

    def everything(self) -> list[tuple[str, Held]]:
        """Give all that is held, namespace by namespace, also writes without their checkpoint."""
        found = []
        for name, held in self.namespaces.items():
            found += [(name, each) for each in held.values()]
        return found

    def find(self, namespace: str, checkpoint_id: str | None, *, raises: bool) -> Held | None:
        """Give a checkpoint.

        Args:
            namespace: Its namespace.
            checkpoint_id: Its id; ``None`` for the latest.
            raises: What was never seen is not to be taken for empty.

        Returns:
            It; ``None`` where there is none.

        Raises:
            OutageError: It can't be told until the primary is back.
        """
        if checkpoint_id is None:
            self._require_readable()
            latest = self.latest(namespace)
            if latest is None:
                self._require_empty(namespace, raises=raises)
            return latest
        found = self.namespaces.get(namespace, {}).get(checkpoint_id)
        if found is not None and found.is_whole:
            return found
        if self.is_whole and not self._forgot:
            return None
        raise OutageError("this checkpoint can't be read until the checkpointer's primary is back")

    def _require_readable(self) -> None:
        if self.is_torn:
            raise OutageError(
                "the journal holds something of this thread that can't be read: how far it got "
                "is not known until the checkpointer's primary is back"
            )

    def _require_empty(self, namespace: str, *, raises: bool) -> None:
        if self.is_whole or namespace in self._empty:
            return
        if namespace in self.namespaces:
            raise OutageError(
                "the checkpoint of these writes is not known until the primary is back"
            )
        if self.namespaces or self._forgot:
            self._require_begun(namespace)
        elif raises:
            raise OutageError(
                "this thread was not seen before the checkpointer's primary went away"
            )

    def _require_begun(self, namespace: str) -> None:
        """Require that a namespace of a thread that was seen can't be there yet."""
        root = self.latest("")
        ours = root is not None and root.ours
        if not (self.is_begun or (ours and _TASK in namespace)):
            raise OutageError(
                "how far a graph got is not known until the checkpointer's primary is back"
            )


def _is_task_of(namespace: str, above: str) -> bool:
    """Tell whether a namespace is below another one, and of a task that will not come again."""
    if not above:
        return _TASK in namespace
    return namespace.startswith(above + _ABOVE) and _TASK in namespace[len(above) :]


def _id(held: Held) -> str:
    return held.checkpoint_id
