"""What both Kafka drivers share: nothing here knows a client library."""
