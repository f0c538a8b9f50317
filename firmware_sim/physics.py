"""A load cell and its indicator as a pure function: `update(state, time, inputs) → state, indication`.

Owns settling, noise, drift, creep, overload, zero tracking, tare and rounding. No clock, no
bytes: time is handed in, and the same seed and inputs give the same indications for ever.

The plate is a damped oscillator, solved exactly for a load that is constant between two updates:
    e(t) = exp(-ζωt) · (e0·cos ωd·t + (v0 + ζω·e0)/ωd · sin ωd·t),  e = position - load
The converter samples it on a fixed grid, so results do not depend on how often update is called.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from firmware_sim.errors import ProfileError
from firmware_sim.indication import Condition, Indication, Unit

SAMPLE_PERIOD_S = 0.05
# A longer silence is crossed in one exact step instead of sample by sample.
MAX_TICKS_PER_UPDATE = 1200
# OIML R 76: no indication above Max + 9 e; zero tracking at most 0.5 d/s; zero-setting within
# 4 % of Max, initial zero-setting within 20 % of Max; centre of zero within 0.25 e.
OVERLOAD_DIVISIONS = 9
UNDERLOAD_DIVISIONS = 20
ZERO_TRACKING_DIVISIONS_PER_S = 0.5
ZERO_SETTING_SHARE = 0.04
INITIAL_ZERO_SHARE = 0.20
CENTRE_OF_ZERO_DIVISIONS = 0.25
# The samples of a stable window span at most half a division: the shown value is then the load.
STABLE_SPAN_DIVISIONS = 0.5


class Key(StrEnum):
    """The keys on the indicator's front."""

    ZERO = "zero"
    TARE = "tare"
    CLEAR_TARE = "clear_tare"


@dataclass(frozen=True, slots=True)
class PresetTare:
    """A tare typed in, in grams, instead of weighed."""

    mass_g: int


@dataclass(frozen=True, slots=True)
class ScaleProfile:
    """What kind of scale it is. Masses in grams; `noise_g` is the rms of one sample.

    `creep_ppm` is how much of the load appears late, with time constant `creep_tau_s`.
    """

    max_g: int = 60_000
    division_g: int = 10
    noise_g: float = 0.6
    drift_g_per_h: float = 0.0
    creep_ppm: float = 150.0
    creep_tau_s: float = 180.0
    oscillation_hz: float = 3.7
    damping: float = 0.22
    stable_window_s: float = 0.6
    zero_tracking: bool = True

    def __post_init__(self) -> None:
        """Refuse what no scale could be."""
        digits = str(self.division_g).rstrip("0")
        checks = (
            (digits in ("1", "2", "5"), "division_g must be 1, 2 or 5 times a power of ten"),
            (self.division_g <= 1000, "division_g must be at most 1000"),
            (100 * self.division_g <= self.max_g <= 600_000, "max_g must be 100 divisions to 600000"),
            (0 <= self.noise_g <= self.max_g / 10, "noise_g must be 0 to a tenth of max_g"),
            (abs(self.drift_g_per_h) <= self.max_g, "drift_g_per_h must be within ±max_g"),
            (0 <= self.creep_ppm <= 100_000, "creep_ppm must be 0 to 100000"),
            (1 <= self.creep_tau_s <= 86_400, "creep_tau_s must be 1 to 86400"),
            (0 < self.damping < 1, "damping must lie between 0 and 1"),
            (0.5 <= self.oscillation_hz <= 9, "oscillation_hz must be 0.5 to 9"),
            (
                2 / self.oscillation_hz <= self.stable_window_s <= 5,
                "stable_window_s must hold two oscillations and be at most 5",
            ),
        )
        for holds, message in checks:
            if not holds:
                raise ProfileError(f"scale profile: {message}")

    @property
    def window_samples(self) -> int:
        """How many samples must agree before the scale calls itself stable."""
        return math.ceil(self.stable_window_s / SAMPLE_PERIOD_S)


@dataclass(frozen=True, slots=True)
class PlateInputs:
    """What the world does to the scale from now on: the load in grams, keys pressed, unit chosen."""

    load_g: float
    presses: tuple[Key | PresetTare, ...] = ()
    unit: Unit = Unit.KG


@dataclass(frozen=True, slots=True)
class PlateState:
    """Everything the scale remembers between two updates; offsets are grams at the load cell."""

    time_s: float
    started_s: float
    tick: int
    load_g: float
    offset_g: float = 0.0  # position minus load
    velocity_g_per_s: float = 0.0
    creep_g: float = 0.0
    zero_g: float = 0.0
    zeroed: bool = True
    tare_g: int | None = None
    tare_is_preset: bool = False
    samples: tuple[float, ...] = ()


def power_on(profile: ScaleProfile, time_s: float, load_g: float) -> PlateState:
    """Start the scale with `load_g` on the plate: taken as zero if within 20 % of Max, as R 76 allows."""
    zeroed = abs(load_g) <= INITIAL_ZERO_SHARE * profile.max_g
    return PlateState(time_s, time_s, tick=0, load_g=load_g, zero_g=load_g if zeroed else 0.0, zeroed=zeroed)


def update(
    profile: ScaleProfile, seed: int, state: PlateState, time_s: float, inputs: PlateInputs
) -> tuple[PlateState, Indication]:
    """Advance to `time_s` under the load so far, then apply the inputs, which hold from then on."""
    state = _advance(profile, seed, state, time_s)
    if inputs.load_g != state.load_g:
        state = replace(state, load_g=inputs.load_g, offset_g=state.offset_g + state.load_g - inputs.load_g)
    for press in inputs.presses:
        state = _pressed(profile, state, press)
    return state, indicate(profile, state, inputs.unit)


def indicate(profile: ScaleProfile, state: PlateState, unit: Unit = Unit.KG) -> Indication:
    """What the display shows for a state."""
    signal_g = _signal(profile, state) - state.zero_g
    return Indication(
        condition=_condition(profile, state, signal_g),
        gross_g=round_to_division(signal_g, profile.division_g),
        division_g=profile.division_g,
        max_g=profile.max_g,
        tare_g=state.tare_g,
        tare_is_preset=state.tare_is_preset,
        at_zero=abs(signal_g) <= CENTRE_OF_ZERO_DIVISIONS * profile.division_g,
        zeroed=state.zeroed,
        zero_reach=_zero_reach(profile, signal_g + state.zero_g),
        unit=unit,
    )


def round_to_division(mass_g: float, division_g: int) -> int:
    """The nearest multiple of the division, halves away from zero, in whole grams."""
    steps = math.floor(abs(mass_g) / division_g + 0.5)
    return division_g * (steps if mass_g >= 0 else -steps)


def is_stable(profile: ScaleProfile, state: PlateState) -> bool:
    """Whether a whole window of samples lies within half a division."""
    if len(state.samples) < profile.window_samples:
        return False
    span_g = max(state.samples) - min(state.samples)
    return span_g <= STABLE_SPAN_DIVISIONS * profile.division_g


def _advance(profile: ScaleProfile, seed: int, state: PlateState, time_s: float) -> PlateState:
    if time_s <= state.time_s:
        return state
    last_tick = math.floor((time_s - state.started_s) / SAMPLE_PERIOD_S + 1e-9)
    if last_tick - state.tick > MAX_TICKS_PER_UPDATE:
        skipped_to = last_tick - MAX_TICKS_PER_UPDATE
        state = _moved(profile, state, state.started_s + skipped_to * SAMPLE_PERIOD_S)
        state = replace(state, tick=skipped_to, samples=())
    for tick in range(state.tick + 1, last_tick + 1):
        state = _moved(profile, state, state.started_s + tick * SAMPLE_PERIOD_S)
        state = _sampled(profile, seed, replace(state, tick=tick))
    return _moved(profile, state, time_s)


def _moved(profile: ScaleProfile, state: PlateState, time_s: float) -> PlateState:
    step_s = time_s - state.time_s
    if step_s <= 0:
        return state
    decay = profile.damping * 2 * math.pi * profile.oscillation_hz
    ringing = decay / profile.damping * math.sqrt(1 - profile.damping**2)
    fade = math.exp(-decay * step_s)
    cosine, sine = math.cos(ringing * step_s), math.sin(ringing * step_s)
    swing = (state.velocity_g_per_s + decay * state.offset_g) / ringing
    offset = fade * (state.offset_g * cosine + swing * sine)
    velocity = fade * (ringing * (swing * cosine - state.offset_g * sine)) - decay * offset
    creep_target = state.load_g * profile.creep_ppm / 1_000_000
    kept = math.exp(-step_s / profile.creep_tau_s)
    creep = creep_target + (state.creep_g - creep_target) * kept
    return replace(state, time_s=time_s, offset_g=offset, velocity_g_per_s=velocity, creep_g=creep)


def _sampled(profile: ScaleProfile, seed: int, state: PlateState) -> PlateState:
    drift_g = profile.drift_g_per_h * (state.time_s - state.started_s) / 3600
    noise_g = profile.noise_g * gauss(seed, state.tick)
    sample = state.load_g + state.offset_g + state.creep_g + drift_g + noise_g
    samples = (*state.samples, sample)[-profile.window_samples :]
    return _zero_tracked(profile, replace(state, samples=samples))


def _zero_tracked(profile: ScaleProfile, state: PlateState) -> PlateState:
    if not profile.zero_tracking or state.tare_g is not None or not is_stable(profile, state):
        return state
    error_g = _signal(profile, state) - state.zero_g
    if abs(error_g) > profile.division_g / 2:
        return state
    limit_g = ZERO_TRACKING_DIVISIONS_PER_S * profile.division_g * SAMPLE_PERIOD_S
    return replace(state, zero_g=state.zero_g + max(-limit_g, min(limit_g, error_g)))


def _signal(profile: ScaleProfile, state: PlateState) -> float:
    """The window's mean at rest, the newest sample in motion: what a display filter does."""
    if not state.samples:
        return state.load_g + state.offset_g + state.creep_g
    if is_stable(profile, state):
        return sum(state.samples) / len(state.samples)
    return state.samples[-1]


def _condition(profile: ScaleProfile, state: PlateState, signal_g: float) -> Condition:
    if signal_g > profile.max_g + OVERLOAD_DIVISIONS * profile.division_g:
        return Condition.OVERLOAD
    if signal_g < -UNDERLOAD_DIVISIONS * profile.division_g:
        return Condition.UNDERLOAD
    return Condition.STABLE if is_stable(profile, state) else Condition.MOTION


def _zero_reach(profile: ScaleProfile, cell_g: float) -> int:
    limit_g = ZERO_SETTING_SHARE * profile.max_g
    return (cell_g > limit_g) - (cell_g < -limit_g)


def _pressed(profile: ScaleProfile, state: PlateState, press: Key | PresetTare) -> PlateState:
    """Do what the key does when the scale is at rest and within range; else nothing, as on a real one."""
    match press:
        case PresetTare(mass_g):
            mass_g = round_to_division(mass_g, profile.division_g)
            return replace(state, tare_g=mass_g or None, tare_is_preset=bool(mass_g))
        case Key.CLEAR_TARE:
            return replace(state, tare_g=None, tare_is_preset=False)
        case Key.ZERO:
            return _zero_set(profile, state) if is_stable(profile, state) else state
        case Key.TARE:
            return _tared(profile, state) if is_stable(profile, state) else state
        case _:
            assert_never(press)


def _zero_set(profile: ScaleProfile, state: PlateState) -> PlateState:
    cell_g = _signal(profile, state)
    if _zero_reach(profile, cell_g):
        return state
    return replace(state, zero_g=cell_g, zeroed=True, tare_g=None, tare_is_preset=False)


def _tared(profile: ScaleProfile, state: PlateState) -> PlateState:
    gross_g = round_to_division(_signal(profile, state) - state.zero_g, profile.division_g)
    if gross_g < 0:
        return state
    return replace(state, tare_g=gross_g or None, tare_is_preset=False)


def gauss(seed: int, index: int) -> float:
    """A standard normal number that depends on seed and index only (Box-Muller over splitmix64)."""
    first = (_splitmix(seed * 0x9E3779B97F4A7C15 + 2 * index) + 1) / 2**64
    second = _splitmix(seed * 0x9E3779B97F4A7C15 + 2 * index + 1) / 2**64
    return math.sqrt(-2 * math.log(first)) * math.cos(2 * math.pi * second)


def _splitmix(value: int) -> int:
    mask = 2**64 - 1
    value = (value * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)
