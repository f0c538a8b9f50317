"""The "ST,GS" family: A&D standard, CAS with 22, 18 and 10 bytes, KERN. The scale talks, nobody asks."""
