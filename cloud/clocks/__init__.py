"""When things happened: gateways' clocks judged and repaired afterwards. What they said is never changed."""
