"""Topics and groups, for applications and tests."""

from collections.abc import Mapping
from typing import final

from streamproof.capabilities import Capabilities
from streamproof.checks import require_topic_name
from streamproof.driver import AsyncAdminDriver
from streamproof.errors import ConfigurationError
from streamproof.records import GroupDescription, TopicDescription, TopicPartition, TopicSpec
from streamproof.refusals import require_topic


@final
class AsyncAdmin:
    """Create, describe and delete topics; list and describe groups. Every call is bounded by
    ``timeout_s``; on return its effect can be seen by everyone."""

    def __init__(self, driver: AsyncAdminDriver, capabilities: Capabilities) -> None:
        self._driver = driver
        self._capabilities = capabilities

    async def create_topic(
        self,
        name: str,
        partitions: int = 1,
        *,
        replication: int | None = None,
        retention_ms: int | None = None,
        retention_bytes: int | None = None,
        is_compacted: bool = False,
        timeout_s: float = 30.0,
    ) -> None:
        """Create a topic. Raises :class:`TopicExists` if it is there already."""
        spec = TopicSpec(name, partitions, replication, retention_ms, retention_bytes, is_compacted)
        await self.create_topics(spec, timeout_s=timeout_s)

    async def create_topics(self, *topics: TopicSpec, timeout_s: float = 30.0) -> None:
        """Create several. Raises :class:`TopicExists` at the first that is there already."""
        for topic in topics:
            require_topic_name(topic.name)
            if not isinstance(topic.partitions, int) or topic.partitions < 1:
                raise ConfigurationError(f"partitions={topic.partitions!r} is not possible: give 1 or more")
            require_topic(self._capabilities, topic)
        await self._driver.create_topics(topics, timeout_s)

    async def delete_topics(self, *names: str, timeout_s: float = 30.0) -> None:
        """Delete topics with all their records. Raises :class:`UnknownTopic`."""
        await self._driver.delete_topics(names, timeout_s)

    async def list_topics(self, timeout_s: float = 30.0) -> list[str]:
        """The names of all topics, sorted."""
        return await self._driver.list_topics(timeout_s)

    async def describe_topic(self, name: str, timeout_s: float = 30.0) -> TopicDescription:
        """Partitions and retention of one topic. Raises :class:`UnknownTopic`."""
        return (await self._driver.describe_topics((name,), timeout_s))[0]

    async def list_groups(self, timeout_s: float = 30.0) -> list[str]:
        """The names of all groups with members or stored progress, sorted."""
        return await self._driver.list_groups(timeout_s)

    async def describe_group(self, name: str, timeout_s: float = 30.0) -> GroupDescription:
        """State, generation and members of a group; an unknown one is ``"dead"`` and empty."""
        return (await self._driver.describe_groups((name,), timeout_s))[0]

    async def delete_records(self, before: Mapping[TopicPartition, int], timeout_s: float = 30.0) -> None:
        """Trim logs: the given offset becomes the first of each."""
        await self._driver.delete_records(before, timeout_s)
