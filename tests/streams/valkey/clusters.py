"""Several real servers that belong together: a cluster, and a master with its replica under the eyes of Sentinels."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis

from penstock.streams._valkey.slots import SLOTS, slot_of
from penstock.streams._valkey.values import as_map
from tests.streams.valkey.servers import RealServer, start_on_a_free_port, valkey_binary

__all__ = ["RealCluster", "RealSentinels", "client_of", "wait_until"]

_PATIENCE_S: Final = 30.0
_NODE_TIMEOUT_MS: Final = 1000


def wait_until(condition: Callable[[], Any]) -> Any:
    """What *condition* says once it is true; while a server is away, it is not."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if said := condition():
                return said
        except redis.RedisError as error:
            if time.monotonic() > deadline:
                raise TimeoutError("this never came true") from error
        if time.monotonic() > deadline:
            raise TimeoutError("this never came true")
        time.sleep(0.01)


def client_of(server: RealServer) -> Any:
    """A client that may be used at once."""
    return redis.Redis(unix_socket_path=server.socket, protocol=2, socket_timeout=5)


def _follows(replica: Any) -> bool:
    return bool(replica.info("replication")["master_link_status"] == "up")


class RealCluster:
    """Three masters with a third of the slots each, and as many replicas of the first as are asked for."""

    def __init__(self, binary: str = "", *, replicas: int = 0) -> None:
        self._binary = binary or valkey_binary()
        self.masters = [self._node() for _ in range(3)]
        self.replicas = [self._node() for _ in range(replicas)]
        self.nodes = [*self.masters, *self.replicas]
        self._clients = {node: client_of(node) for node in self.nodes}
        self._join()

    @property
    def url(self) -> str:
        """Its first two nodes; the third is found."""
        return f"redis+cluster://127.0.0.1:{self.masters[0].port},127.0.0.1:{self.masters[1].port}"

    def ask(self, node: RealServer, *command: Any) -> Any:
        """What one node answers."""
        return self._clients[node].execute_command(*command)

    def keeper(self, key: str) -> RealServer:
        """The node that keeps a key, by what the first node that answers says."""
        slot = slot_of(key.encode())
        for node in self.nodes:
            try:
                ranges = self.ask(node, "CLUSTER", "SLOTS")
            except redis.RedisError:
                continue
            for first, last, (_, port, *_), *_ in ranges:
                if first <= slot <= last:
                    return next(node for node in self.nodes if node.port == port)
        raise LookupError(f"nobody keeps {key!r}")

    def key_at(self, node: RealServer, prefix: str = "s") -> str:
        """A name whose slot the node keeps."""
        return next(name for number in range(1000) if self.keeper(name := f"{prefix}{number}") is node)

    def identity(self, node: RealServer) -> str:
        """What the others call it."""
        said = self.ask(node, "CLUSTER", "MYID")
        return said.decode() if isinstance(said, bytes) else str(said)

    def begin_move(self, slot: int, source: RealServer, target: RealServer) -> None:
        """From now on the slot is on its way."""
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.identity(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.identity(target))

    def move_keys(self, slot: int, source: RealServer, target: RealServer, *keys: str | bytes) -> None:
        """Take keys of the slot over, all there are if none is named."""
        while found := list(keys) or self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            self.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *found)
            if keys:
                return

    def end_move(self, slot: int, target: RealServer) -> None:
        """The slot is there, and all nodes know: moved again before they do, they would fall out about it."""
        for node in (target, *(node for node in self.masters if node is not target)):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.identity(target))
        wait_until(self._agree)

    def move(self, slot: int, target: RealServer, source: RealServer) -> None:
        """Move a slot with all its keys, as an operator's tool does."""
        self.begin_move(slot, source, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, target)

    def move_at_once(self, slot: int, source: RealServer, target: RealServer) -> None:
        """Have the nodes move a slot by themselves."""
        self.ask(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.identity(target))
        wait_until(lambda: slot in self._slots_of(target) and self._agree())

    def restart(self, node: RealServer) -> None:
        """Start a node that was killed, and wait until the cluster has it back."""
        node.start()
        wait_until(self._is_whole)

    def remove(self) -> None:
        """End all of it and remove its data."""
        for node in self.nodes:
            self._clients[node].close()
            node.thaw()
            node.remove()

    def _node(self) -> RealServer:
        settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(_NODE_TIMEOUT_MS)]
        settings += ["--cluster-announce-ip", "127.0.0.1", "--cluster-require-full-coverage", "no"]
        settings += ["--cluster-migration-barrier", "99", "--appendonly", "yes", "--appendfsync", "no"]
        settings += ["--repl-diskless-sync-delay", "0"]
        return start_on_a_free_port(lambda: RealServer(self._binary, *settings, with_port=True))

    def _join(self) -> None:
        third = SLOTS // 3
        for number, node in enumerate(self.masters):
            last = SLOTS if number == 2 else (number + 1) * third
            self.ask(node, "CLUSTER", "ADDSLOTS", *range(number * third, last))
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self.ask(node, "CLUSTER", "MEET", "127.0.0.1", self.masters[0].port)
        wait_until(
            lambda: all(self._info(node)["cluster_known_nodes"] == len(self.nodes) for node in self.nodes)
        )
        for replica in self.replicas:
            self.ask(replica, "CLUSTER", "REPLICATE", self.identity(self.masters[0]))
        wait_until(self._is_whole)
        wait_until(lambda: all(_follows(self._clients[replica]) for replica in self.replicas))

    def _slots_of(self, node: RealServer) -> set[int]:
        ranges = [
            range(first, last + 1)
            for first, last, (_, port, *_), *_ in self.ask(node, "CLUSTER", "SLOTS")
            if port == node.port
        ]
        return {slot for each in ranges for slot in each}

    def _agree(self) -> bool:
        return len({self._view(node) for node in self.nodes}) == 1

    def _view(self, node: RealServer) -> frozenset[tuple[str, ...]]:
        lines = [
            line.split()
            for line in self._clients[node].execute_command("CLUSTER", "NODES").decode().splitlines()
        ]
        # Identity, configuration epoch, and the slots that are not on their way.
        return frozenset(
            (line[0], line[6], *(slots for slots in line[8:] if "[" not in slots)) for line in lines
        )

    def _is_whole(self) -> bool:
        return all(
            (info := self._info(node))["cluster_state"] == "ok"
            and info["cluster_slots_ok"] == SLOTS
            and info["cluster_size"] == 3
            for node in self.nodes
        )

    def _info(self, node: RealServer) -> dict[str, Any]:
        said = self._clients[node].execute_command("CLUSTER INFO")
        return {name: int(value) if value.isdecimal() else value for name, value in said.items()}


class _Sentinel(RealServer):
    """One Sentinel, on a port."""

    def __init__(self, binary: str, master_port: int) -> None:
        super().__init__(binary, with_port=True)
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"unixsocket {self.socket}",
            f"dir {self.folder}",
            f"logfile {self.folder}/log",
            f"sentinel monitor main 127.0.0.1 {master_port} 2",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 2000",
        ]
        Path(self.folder, "sentinel.conf").write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        return [self.binary, f"{self.folder}/sentinel.conf", "--sentinel"]


class RealSentinels:
    """A master, its replica, and three Sentinels that agree on both."""

    def __init__(self, binary: str = "") -> None:
        binary = binary or valkey_binary()
        settings = ["--repl-diskless-sync-delay", "0", "--appendonly", "yes", "--appendfsync", "no"]
        first = start_on_a_free_port(lambda: RealServer(binary, *settings, with_port=True))
        following = [*settings, "--replicaof", f"127.0.0.1 {first.port}"]
        second = start_on_a_free_port(lambda: RealServer(binary, *following, with_port=True))
        self.servers = [first, second]
        wait_until(lambda: _follows(client_of(second)))
        self.sentinels = [start_on_a_free_port(lambda: _Sentinel(binary, first.port)) for _ in range(3)]
        wait_until(lambda: all(self._agrees(sentinel) for sentinel in self.sentinels))

    @property
    def url(self) -> str:
        """The Sentinels, and the name of the service."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)}/main"

    @property
    def master(self) -> RealServer:
        """Who is the master, by what the first Sentinel says."""
        _, port = self._ask(self.sentinels[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        return next(server for server in self.servers if server.port == int(port))

    @property
    def replica(self) -> RealServer:
        """Who is not."""
        return next(server for server in self.servers if server is not self.master)

    def fail_over(self) -> None:
        """Have the replica take over when it has all the master has; the old master follows it then."""
        old = self.master
        wait_until(lambda: self._ask(self.sentinels[0], "SENTINEL", "FAILOVER", "main", "COORDINATED"))
        self.wait_for_another(old)

    def wait_for_another(self, old: RealServer) -> None:
        """Wait until the Sentinels name another master than the old one, and it is one."""
        wait_until(
            lambda: self.master is not old and client_of(self.master).info("replication")["role"] == "master"
        )

    def remove(self) -> None:
        """End all of it and remove its data."""
        for server in (*self.sentinels, *self.servers):
            server.thaw()
            server.remove()

    def _agrees(self, sentinel: RealServer) -> bool:
        facts = as_map(self._ask(sentinel, "SENTINEL", "MASTER", "main"))
        return int(facts["num-other-sentinels"]) == 2 and int(facts["num-slaves"]) == 1

    def _ask(self, sentinel: RealServer, *command: Any) -> Any:
        client: Any = redis.Redis(host="127.0.0.1", port=sentinel.port, protocol=2, socket_timeout=5)
        with client:
            client.response_callbacks.clear()
            return client.execute_command(*command)
