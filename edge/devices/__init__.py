"""Real scales and scanners over serial lines: bytes in, typed readings and scans out.

Each dialect family is a folder of its own (`frames` is pure, `driver` talks) and knows no other family.
"""
