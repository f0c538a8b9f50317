"""What the cloud does unasked: documents to gateways, the broker's folder, housekeeping."""
