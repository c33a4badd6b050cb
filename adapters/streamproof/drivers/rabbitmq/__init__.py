"""What both RabbitMQ drivers share: nothing here knows a client library."""
