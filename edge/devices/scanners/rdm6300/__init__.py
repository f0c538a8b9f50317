"""RDM6300 readers of 125 kHz EM4100 tags: identifiers, not credentials, since such tags are easily copied."""
