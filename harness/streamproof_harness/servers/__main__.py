"""``python -m streamproof_harness.servers fetch``: bring what starting brokers needs, before it is timed."""

import sys

from streamproof_harness.servers.availability import Local, ServerError
from streamproof_harness.servers.finding import find_local_kafka
from streamproof_harness.servers.kafka_jars import fetch_jars, wanted_version


def main(arguments: list[str]) -> int:
    """Exit status 0 if all is there or cannot be had this way, 3 if it could not be brought."""
    if arguments != ["fetch"]:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if isinstance(find_local_kafka(), Local):
            print(f"Kafka's jars: {fetch_jars(wanted_version())}")
    except ServerError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
