"""The redis-py clients of `RedisSessionStore`, and how a request goes through them.

One client serves all threads; each event loop has one of its own, closed when its loop ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import repeat
from threading import BoundedSemaphore, Lock
from typing import Any

import redis

from sessionstore._runtime.event_loops import PerLoop
from sessionstore.errors import SessionStoreError
from sessionstore.redis import multi
from sessionstore.redis.asked import CLOSED, NotSentError, shared_sizes
from sessionstore.redis.async_batches import AsyncBatches
from sessionstore.redis.async_direct import AsyncDirect
from sessionstore.redis.cluster_batches import AsyncNodes
from sessionstore.redis.counting import counted_connections
from sessionstore.redis.direct import LOST, Direct
from sessionstore.redis.errors import NobodyAnsweredError, is_of_full_pool, translated
from sessionstore.redis.event_loops import OfLoop
from sessionstore.redis.making import (
    AsyncClient,
    SyncClient,
    async_client,
    close_client,
    sync_client,
)
from sessionstore.redis.requests import Command, Probe, Reply, Request, Transaction
from sessionstore.redis.sending import alet_go, aprobed, asent, let_go, probed, sent, within
from sessionstore.redis.settings import Settings
from sessionstore.redis.timed import SLOW, left
from sessionstore.stats import StoreConnections

__all__ = ["Clients"]

_AT_ONCE = 50  # requests of one event loop; the next ones wait for a connection of these
_NONE_FREE = "No connection available: each waits for an answer"
_LATELY = 8  # the part of a wait within which somebody is answered where Redis is only busy
_PATIENCE = 5.0  # seconds to wait for a permit, where a caller's client sets no timeout


class Clients:
    """The clients of one process.

    Args:
        settings: What to connect to.
        given: The caller's client, which is used for its own mode, sync or async, and never closed.

    Attributes:
        settings: What to connect to.
        closed: Whether they are closed for good.
    """

    def __init__(self, settings: Settings, given: SyncClient | AsyncClient = None) -> None:
        """Connect to nothing yet."""
        self.settings = settings
        self._lock = Lock()
        self.closed: bool = False
        self._sync: SyncClient = None
        self._direct: Direct | None = None
        most = settings.options.get("max_connections")
        self._patience = settings.options.get("socket_timeout") or _PATIENCE
        self._at_once = min(_AT_ONCE, most or _AT_ONCE)
        self._permits = BoundedSemaphore(most) if most else None
        self._answered = 0.0
        self._last_error: str | None = None  # in words: an error holds its frames, and those a loop
        self._given = given
        # Asked once: a client of redis-py takes long to say what it is.
        self._given_is_sync = (
            isinstance(given, (redis.Redis, redis.RedisCluster)) or multi.mode_of(given) == "sync"
        )
        self._given_loop: asyncio.AbstractEventLoop | None = None
        self._of_loops: PerLoop[OfLoop] = PerLoop(OfLoop.close, OfLoop.abandon)

    def after_fork(self) -> Clients:
        """Give the clients of a process that was forked off this one's.

        redis-py replaces a sync client's connections after a fork. An async one's are still
        the parent's sockets, so that the child needs a client of its own.
        """
        clients = Clients(self.settings, self._given if self._given_is_sync else None)
        clients.closed = self.closed
        return clients

    # -- Sync and async ---------------------------------------------------------------------------

    def send(self, request: Request) -> Reply:
        """Carry out commands, in one round trip to each node, and give the replies or errors.

        None at all lets go of idle connections: they lead to a server that is no longer a master.
        The reply to a transaction is nothing where there are none: then nothing was done.
        """
        direct = self._direct
        if direct is None or self.closed or type(request) is not list or len(request) != 1:
            return self._send(request)
        return [direct.send(request[0].words)]

    def _send(self, request: Request) -> Reply:
        client, direct = self._sync_one(), self._direct
        if isinstance(request, Transaction):
            return direct.transact(request.commands) if direct else []
        if self.settings.databases:  # to which a probe is a command as all
            return multi.sent(client, request)
        if isinstance(request, Probe):
            return probed(client, request.command)
        if direct and len(request) == 1:
            return [direct.send(request[0].words)]
        if direct and not request:
            direct.let_go()
        return self._send_by_client(client, request)

    def _send_by_client(self, client: SyncClient, commands: Sequence[Command]) -> Reply:
        # redis-py's own pools, full, would refuse at once.
        permits = None if client is self._given else self._permits
        began = time.monotonic()
        if permits is not None and not permits.acquire(timeout=left(self._patience) or 0):
            raise self._none_free(began)
        try:
            replies = sent(client, commands)
        except LOST as error:
            if client is self._given and is_of_full_pool(error):
                raise self._none_free(began - self._patience) from error
            self._last_error = str(translated(error))
            let_go(client)
            raise
        except Exception:
            raise
        except BaseException:  # one of them may have a reply that nobody has read
            let_go(client)
            raise
        finally:
            if permits is not None:
                permits.release()
        self._answered = time.monotonic()
        return replies

    async def asend(self, request: Request) -> Reply:
        """Async twin of `send`."""
        self.refuse_closed()
        of_loop = self._of_loops.here() or self._of_this_loop()
        batches, sizes = of_loop.batches, shared_sizes(request)
        if batches is None or not sizes or (len(sizes) > 1 and batches.is_idle()):
            return await self._asend_apart(of_loop, request)
        commands: list[Command] = request  # type: ignore[assignment]
        if len(sizes) > 1:
            sending = map(self._asend_shared, repeat(batches), commands, sizes)
            return await asyncio.gather(*sending, return_exceptions=True)
        [command] = commands
        if batches.large.may_be_of(command):
            [reply] = await self._asend_apart(of_loop, request)
        else:
            reply = await self._asend_shared(batches, command, sizes[0])
        batches.large.learn(command, reply)
        return [reply]

    async def _asend_shared(
        self, batches: AsyncBatches | AsyncNodes, command: Command, size: int
    ) -> Any:
        try:
            reply = await batches.send(command, size)
        except (AttributeError, TypeError, RuntimeError) as error:
            # What asyncio and uvloop give for writing to a connection that was just closed.
            raise redis.ConnectionError(CLOSED) from error
        except NotSentError as error:
            raise self._none_free(error.began) from None
        except LOST as error:
            self._last_error = str(translated(error))
            raise
        self._answered = time.monotonic()
        return reply

    async def _asend_apart(self, of_loop: OfLoop, request: Request) -> Reply:
        client, direct = of_loop.client, of_loop.direct
        if isinstance(request, Transaction) and not direct:
            return []
        if isinstance(request, Probe):
            several, seconds = self.settings.databases, left()  # raises before there is a coroutine
            work = multi.asent(client, request) if several else aprobed(client, *request)
            return await within(seconds, work)
        if not request:
            return await alet_go(client, direct)
        return await self._asend_with_permit(of_loop, request)

    async def _asend_with_permit(
        self, of_loop: OfLoop, request: Sequence[Command] | Transaction
    ) -> Reply:
        client, permits, direct = of_loop.client, of_loop.permits, of_loop.direct
        await self._wait_for_permit(permits)
        try:
            if isinstance(request, Transaction):
                replies: Reply = await direct.transact(request.commands)  # type: ignore[union-attr]
            elif direct and len(request) == 1:
                replies = [await direct.send(request[0].words)]
            else:
                replies = await self._asend_by_client(client, request)
        except (AttributeError, TypeError, RuntimeError) as error:
            raise redis.ConnectionError(CLOSED) from error
        except LOST as error:
            self._last_error = str(translated(error))
            raise
        else:
            if permits.locked() or client is self._given:  # somebody may wait, and ask about it
                self._answered = time.monotonic()
            return replies
        finally:
            permits.release()

    async def _asend_by_client(self, client: AsyncClient, commands: Sequence[Command]) -> Reply:
        if self.settings.databases:
            return await multi.asent(client, commands)
        try:
            most = None if client is self._given else self._patience
            return await within(left(most), asent(client, commands))
        except LOST as error:
            if client is self._given and is_of_full_pool(error):
                raise self._none_free(time.monotonic() - self._patience) from error
            await alet_go(client)
            raise

    async def _wait_for_permit(self, permits: asyncio.Semaphore) -> None:
        """Wait for a permit, but for no longer than for an answer."""
        if not permits.locked():
            await permits.acquire()
            return
        began = time.monotonic()
        waiting = asyncio.ensure_future(permits.acquire())
        try:
            await asyncio.wait({waiting}, timeout=left(self._patience))
        except BaseException:
            if waiting.done() and not waiting.cancelled():
                permits.release()
            waiting.cancel()
            raise
        if not waiting.done():
            waiting.cancel()
            raise self._none_free(began)

    def _none_free(self, began: float) -> Exception:
        """Tell whether the server is busy, or gone: then those that have a connection hang."""
        if self._answered < began:
            return NobodyAnsweredError(self._last_error)
        now = time.monotonic()
        if now - self._answered < (now - began) / _LATELY:
            return redis.ConnectionError(_NONE_FREE)
        # Whoever waits when Redis falls silent saw others answered before.
        return redis.TimeoutError(SLOW)

    def connections(self) -> StoreConnections | None:
        """Count the connections of all threads and event loops; ``None`` where nobody tells."""
        client = self._given if self._given_is_sync else self._sync
        most = self.settings.options.get("max_connections")
        if self.settings.topology == "cluster" or self.settings.databases:
            return None
        return counted_connections(client, self._direct, self._of_loops.all(), most)

    def close(self) -> None:
        """Close our own clients; those of event loops that run are closed there."""
        self._shut()
        self._of_loops.close()

    async def aclose(self) -> None:
        """Async twin of `close`, which also waits for the client of the running loop."""
        self._shut()
        await self._of_loops.aclose()

    # -- Making and keeping them ------------------------------------------------------------------

    def _sync_one(self) -> SyncClient:
        self.refuse_closed()
        if self._given_is_sync:
            return self._given
        if self.settings.databases:
            multi.refuse_other_mode(self._given)
        if self._sync is None:
            # Outside the lock: a Cluster's client connects when it is made.
            made = sync_client(self.settings)
            with self._lock:
                one = self._sync if self.closed else self._sync or made
                if one is not self._sync and self._may_go_direct() and Direct.is_possible():
                    self._direct = Direct(made)
                self._sync = one
            if one is not made:
                close_client(made)
        self.refuse_closed()
        return self._sync

    def _may_go_direct(self) -> bool:
        # Of a pool with few connections, none is held back from what needs several commands.
        few = "max_connections" in self.settings.options
        own = self.settings.options.get("credential_provider") is None and not few
        return self.settings.topology != "cluster" and own

    def _of_this_loop(self) -> OfLoop:
        return self._of_loops.keep(self._callers_own() or self._new_of_loop())

    def _callers_own(self) -> OfLoop | None:
        """Give the caller's own client to the first loop that asks."""
        if self._given is None or self._given_is_sync:
            return None
        loop = asyncio.get_running_loop()
        with self._lock:
            self._given_loop = self._given_loop or loop
        if self._given_loop is not loop:
            return None
        return OfLoop(self._given, asyncio.Semaphore(_AT_ONCE), is_ours=False)

    def _new_of_loop(self) -> OfLoop:
        if self.settings.databases:
            multi.refuse_elsewhere(self._given)
        client = async_client(self.settings)
        wait = self.settings.options.get("socket_timeout", _PATIENCE)
        possible = self._may_go_direct() and AsyncDirect.is_possible()
        direct = AsyncDirect(client, wait) if possible else None
        permits = asyncio.Semaphore(self._at_once)
        batches: AsyncBatches | AsyncNodes | None = None
        if direct:
            batches = AsyncBatches(direct, permits, wait)
        elif self.settings.topology == "cluster" and AsyncDirect.is_possible():
            batches = AsyncNodes(client, permits, wait)
        return OfLoop(client, permits, direct, batches)

    def _shut(self) -> None:
        with self._lock:
            self.closed = True
            client, self._sync = self._sync, None
        if self._direct is not None:
            self._direct.close()
        if client is not None:
            close_client(client)

    def refuse_closed(self) -> None:
        """Raise an error where the store was closed."""
        if self.closed:
            raise SessionStoreError("this store is closed")
