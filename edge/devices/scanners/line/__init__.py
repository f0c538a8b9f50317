"""Barcode and QR scanners that type a line."""
