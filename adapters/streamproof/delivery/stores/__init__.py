"""Where marks and outboxes are kept; what the two colours of each store share."""
