"""Apache Kafka's jars: brought by Maven once, kept in a cache that parallel runs share.

A version's directory appears by a rename, so it is complete or not there, whenever a run was
interrupted. ``kafka_2.13`` brings the SLF4J interface without an implementation, so Kafka would run
without a log: the one of the same version is added.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from streamproof_harness.servers.availability import ServerError

DEFAULT_VERSION = "4.3.0"
VERSION_VARIABLE = "STREAMPROOF_KAFKA_VERSION"
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
MAVEN_BOUND_S = 600.0

POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>streamproof</groupId><artifactId>{artifact}-jars</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>
  </dependencies>
</project>
"""


def wanted_version() -> str:
    """The Kafka to run: of the environment variable, else the newest that this release was tested with."""
    version = os.environ.get(VERSION_VARIABLE) or DEFAULT_VERSION
    if not re.fullmatch(r"\d+\.\d+\.\d+[\w.-]*", version):
        raise ServerError(f"{VERSION_VARIABLE}={version!r} is no version: write e.g. {DEFAULT_VERSION}")
    return version


def cache_directory() -> Path:
    """Where downloads are kept: ``$XDG_CACHE_HOME/streamproof``, else ``~/.cache/streamproof``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamproof"


def cached_jars(version: str) -> Path | None:
    """The directory with the jars of a version, if they were brought before."""
    directory = cache_directory() / f"kafka-{version}"
    return directory if directory.is_dir() else None


def fetch_jars(version: str) -> Path:
    """The directory with the jars of a version, brought by Maven if need be (54 MB, once).

    Blocks while another process brings the same version. :class:`ServerError` says what Maven said.
    """
    if (cached := cached_jars(version)) is not None:
        return cached
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"kafka-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (cached := cached_jars(version)) is not None:
            return cached
        part = Path(tempfile.mkdtemp(prefix=f"kafka-{version}.part-", dir=cache))
        try:
            _copy_jars("org.apache.kafka", "kafka_2.13", version, part)
            _copy_jars("org.slf4j", "slf4j-simple", _slf4j_version(part), part)
            return part.rename(cache / f"kafka-{version}")
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _slf4j_version(directory: Path) -> str:
    for jar in directory.glob("slf4j-api-*.jar"):
        return jar.stem.removeprefix("slf4j-api-")
    raise ServerError(f"Maven brought no slf4j-api into {directory}: is this a Kafka release?")


def _copy_jars(group: str, artifact: str, version: str, into: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerError("mvn is not on the PATH: install Maven")
    with tempfile.TemporaryDirectory(prefix="streamproof-pom-") as scratch:
        pom = Path(scratch) / "pom.xml"
        pom.write_text(POM.format(group=group, artifact=artifact, version=version))
        command = [maven, "-q", "-B", "-f", str(pom), COPY_DEPENDENCIES]
        command += [f"-DoutputDirectory={into}", "-DincludeScope=runtime"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=MAVEN_BOUND_S
            )
        except subprocess.TimeoutExpired:
            raise ServerError(
                f"Maven took longer than {MAVEN_BOUND_S:g} s for {artifact} {version}: try again"
            ) from None
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise ServerError(f"Maven could not bring {group}:{artifact}:{version}:\n{said}")
