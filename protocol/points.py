"""How many points a weighing earns: the one rule that kiosk and cloud share."""


def points_for(net_g: int, points_per_kg: int) -> int:
    """Whole points for `net_g` grams at `points_per_kg`; floor, once per weighing, never on a sum.

    Raises ValueError for negative arguments: a negative net weight is not a weighing.
    """
    if net_g < 0 or points_per_kg < 0:
        raise ValueError("grams and rates are never negative")
    return net_g * points_per_kg // 1000
