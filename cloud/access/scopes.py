"""Which scopes exist and who has them. A route names one; a token of this kind opens it or does not."""

CITIZEN_SCOPES = frozenset({"me:read", "claims:write", "drop_points:read", "materials:read"})
OPERATOR_SCOPES = frozenset(
    {
        "alarms:read",
        "alarms:write",
        "citizens:read",
        "citizens:write",
        "custody:read",
        "custody:write",
        "drop_points:read",
        "drop_points:write",
        "gateways:read",
        "gateways:write",
        "ledger:read",
        "ledger:write",
        "materials:read",
        "materials:write",
        "quarantine:read",
        "quarantine:write",
        "weighings:read",
    }
)
