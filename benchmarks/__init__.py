"""What Consort costs on top of the bus: figures beside a bare loop that does the same durable writes."""
