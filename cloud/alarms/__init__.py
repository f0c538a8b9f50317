"""What an operator must see: alarms, refused deliveries, gaps. Ingest writes them."""
