"""What every part of the cloud stands on; knows no word of the domain."""
