import numpy as np
import pytest

from ecgstudy.data import leads
from ecgstudy.data.formats import wfdb
from ecgstudy.data.leads import LAWS, LEADS, check_electrodes, residuals
from ecgstudy.data.records import find_records, read_record
from ecgstudy.data.simulator import synthetic

FS = 500
LIMB = LEADS[:6]


@pytest.fixture(scope="module")
def ecg():
    """Ten seconds in whole microvolts, all of whose limb leads matter."""
    return (
        np.rint(synthetic.simulate(3, 1, fs=FS, labels=frozenset({"NSR"})).record.signal.astype(np.float64) * 1000)
        / 1000
    )


@pytest.fixture
def notes(tmp_path):
    """What reading notes of a signal that is saved as an array."""

    def notes(signal, leads=LEADS):
        np.save(tmp_path / "x.npy", signal.astype(np.float32))
        return read_record(tmp_path / "x", fs=FS, leads=leads).notes

    return notes


def index(*names):
    return [LEADS.index(name) for name in names]


def test_laws_hold_for_any_potentials():
    """Leads as differences of the electrodes' potentials."""
    right, left, foot = np.random.default_rng(0).normal(size=(3, 100))
    limb = np.stack([left - right, foot - right, foot - left, right - (left + foot) / 2, left - (right + foot) / 2,
                     foot - (right + left) / 2])  # fmt: skip
    laws, rest = residuals(limb, LIMB)
    assert laws == list(LAWS) and np.abs(rest).max() < 1e-12
    assert residuals(limb[:3], LIMB[:3])[0] == ["II = I + III"]
    assert residuals(limb[[0, 1, 3]], ("I", "II", "aVR"))[0] == ["aVR = -(I + II)/2"]
    assert residuals(limb[:2], LIMB[:2])[0] == []


def test_a_signalling_nan_is_a_missing_sample(ecg, notes):
    x = ecg.astype(np.float32)
    x.view(np.uint32)[1, 700] = 0x7FA00000
    assert np.isnan(x[1, 700]) and notes(x) == ("missing samples: 1 in II, read as NaN",)


def test_a_sound_record_has_no_note(ecg, notes):
    assert notes(ecg) == ()
    offset = np.linspace(-3, 3, 12)[:, None]
    assert notes(ecg + offset) == ()
    assert notes(np.rint(ecg * 200) / 200) == ()  # 5 µV a step
    gap = ecg.copy()
    gap[4, 100:300] = np.nan
    gap[:, 400:450] = np.nan
    assert {note.split(":")[0] for note in notes(gap)} == {"missing samples"}
    gap[2] = 0
    assert {note.split(":")[0] for note in notes(gap)} == {"missing samples", "flat leads"}


@pytest.mark.parametrize("lead", LIMB)
def test_a_wrong_sign(ecg, notes, lead):
    ecg = ecg.copy()
    ecg[index(lead)] *= -1
    (note,) = notes(ecg)
    assert note.startswith("lead laws: ") and note.endswith(f"; {lead} has the wrong sign")
    broken = note.count("broken by up to")
    assert broken == {"I": 3, "II": 3, "III": 3}.get(lead, 1)
    ecg[:, 50:90] = np.nan
    ecg += np.linspace(0, 1, 12)[:, None]
    assert notes(ecg)[-1].endswith(f"; {lead} has the wrong sign")


@pytest.mark.parametrize("a", range(6))
def test_swapped_leads(ecg, notes, a):
    for b in range(a):
        swapped = ecg.copy()
        swapped[[a, b]] = ecg[[b, a]]
        (note,) = notes(swapped)
        assert f"; {LEADS[b]} and {LEADS[a]} are swapped" in note and "sign" not in note


def exchanged(x, electrodes):
    """The six limb leads after an exchange of two electrodes."""
    first, second, third, right, left, foot = x[:6]
    return {
        "RA and LA": np.stack([-first, third, second, left, right, foot]),
        "RA and LL": np.stack([-third, -second, -first, foot, left, right]),
        "LA and LL": np.stack([second, first, -third, right, foot, left]),
    }[electrodes]


@pytest.mark.parametrize("electrodes", ["RA and LA", "RA and LL", "LA and LL"])
def test_electrodes_exchanged_in_three_leads_only(ecg, notes, electrodes):
    half = np.vstack([exchanged(ecg, electrodes)[:3], ecg[3:]])
    (note,) = notes(half)
    assert f"are swapped (or the electrodes {electrodes} in I, II and III)" in note


@pytest.mark.parametrize("replaces", [True, False])
@pytest.mark.parametrize("seconds", [10, 60])
def test_a_calibration_pulse_in_all_leads(ecg, notes, seconds, replaces):
    x = np.tile(ecg, seconds // 10)
    x[:, 100:200] = 1 + (0 if replaces else x[:, 100:200])
    law, pulse = (note for note in notes(x) if not note.startswith("clipped"))
    assert law.startswith("lead laws: ") and "aVF" not in law
    assert pulse == "calibration pulse: 1 mV in all leads from 0.2 to 0.4 s"


def test_two_pulses_and_other_things_in_all_leads(ecg, notes):
    x = ecg.copy()
    x[:, 100:200] += 1
    x[:, 1100:1200] += 1
    assert notes(x)[1] == "calibration pulse: 1 mV in all leads from 0.2 to 0.4 s and 1 times more"
    hum = ecg + 0.3 * np.sin(2 * np.pi * 50 * np.arange(ecg.shape[1]) / FS)
    (note,) = notes(hum)
    assert note.startswith("lead laws: ")


def test_one_lead_that_disagrees(ecg, notes):
    x = ecg.copy()
    x[3] *= 2
    assert notes(x)[0].endswith("; aVR is 2 times what the others give")
    x = ecg.copy()
    x[1] = np.random.default_rng(0).normal(size=x.shape[1])
    assert notes(x)[0].endswith("; II is not what the others give")


def test_how_much_is_told(ecg, notes):
    x = ecg.copy()
    x[5, 1000:1005] += 2.5
    assert notes(x)[0].startswith("lead laws: aVF = (II + III)/2 broken by up to 2.5 mV")


def test_a_record_of_hours_is_examined_where_it_is_worst(ecg, notes, monkeypatch):
    """Six times as long as is searched: what is found and when is as in a short one, and the rest is not looked at."""
    hours, most, examined = np.tile(ecg, 6), ecg.shape[1], []
    hours[:, 6000:6200] = np.nan
    monkeypatch.setattr(leads, "_MOST_SAMPLES", most)
    broken = leads._broken
    monkeypatch.setattr(leads, "_broken", lambda limb, *more: examined.append(limb.shape[1]) or broken(limb, *more))
    assert {note.split(":")[0] for note in notes(hours)} == {"missing samples"}
    swapped = hours.copy()
    swapped[:2] = hours[1::-1]
    swapped[2] += 3  # offsets do not count
    assert notes(swapped)[-1].endswith("; I and II are swapped")
    for begin in (100, 13_000, 29_500):
        pulse = hours.copy()
        pulse[:, begin : begin + 100] += 1
        when = f"from {begin / FS:.3g} to {begin / FS + 0.2:.3g} s"
        assert notes(pulse)[-1] == f"calibration pulse: 1 mV in all leads {when}"
    apart = hours.copy()
    apart[0, :15_000] = apart[1:6, 15_000:] = np.nan  # no sample of which a law tells
    assert not any(note.startswith("lead laws") for note in notes(apart))
    assert set(examined) == {most}


def test_three_leads_leave_two_readings(ecg, notes):
    x = ecg[:3].copy()
    x[0] *= -1
    assert notes(x, LEADS[:3])[-1].endswith("; I has the wrong sign or II and III are swapped")
    assert [note.split(":")[0] for note in notes(ecg[:3], LEADS[:3])] == ["fewer leads"]


def test_electrodes_exchanged_at_the_patient(notes):
    """They break no law; of a plain simulated beat, as of a real one, the shape tells."""
    pulses = {"P": (-0.16, 0.02, 0.12), "QRS": (0, 0.012, 1.2), "T": (0.26, 0.04, 0.3)}
    time = np.arange(10 * FS) / FS
    wave = sum(
        height * np.exp(-(((((time + 0.4) % 0.8) - 0.4 - at) / width) ** 2) / 2)
        for at, width, height in pulses.values()
    )
    first, second = 0.6 * wave, 1.0 * wave
    limb = np.stack([first, second, second - first, -(first + second) / 2, first - second / 2, second - first / 2])
    x = np.vstack([limb, np.outer([-0.5, 0.2, 0.6, 1, 1, 0.8], wave)])
    assert notes(x) == ()
    assert notes(np.vstack([exchanged(x, "LA and LL"), x[6:]])) == ()  # looks like another heart's
    (note,) = notes(np.vstack([exchanged(x, "RA and LA"), x[6:]]))
    assert note == "electrodes: P, QRS and T point down in I and aVL, as if RA and LA were swapped"
    (note,) = notes(np.vstack([exchanged(x, "RA and LL"), x[6:]]))
    assert note == "electrodes: P, QRS and T point down in II and aVF, as if RA and LL were swapped"


def test_simulated_records_obey_the_laws(notes):
    for number in range(30):
        signal = synthetic.simulate(number, 5, fs=FS).record.signal
        assert not [
            note for note in notes(signal) if note.startswith(("lead laws", "calibration", "electrodes", "scale"))
        ]


def test_exchanged_electrodes_of_real_records(real_data):
    """Right arm and left arm, then right arm and left leg: both are seen in about half of LUDB's records."""
    found = {"RA and LA": 0, "RA and LL": 0}
    for path in find_records(real_data / "ludb")[::2]:
        x = read_record(path).signal
        for electrodes in found:
            y = np.vstack([exchanged(x, electrodes), x[6:]])
            notes = check_electrodes(y, LEADS, FS, y.max(axis=1) + y.min(axis=1) - 2 * y.mean(axis=1))
            found[electrodes] += any(electrodes in note for note in notes)
    assert min(found.values()) > 45


def test_ludbs_gains_are_each_leads_own_range(real_data):
    """The trap itself, by wfdb's reading: every lead spans 1 mV, and the laws do not hold."""
    for number in (1, 50, 200):
        theirs = wfdb.rdrecord(str(real_data / "ludb" / "data" / str(number)))
        np.testing.assert_allclose(np.ptp(theirs.p_signal, axis=0), 1)
        ours = read_record(real_data / "ludb" / "data" / str(number))
        np.testing.assert_allclose(np.ptp(ours.signal, axis=1) * 1000, theirs.adc_gain, rtol=1e-6)
        assert np.abs(residuals(theirs.p_signal.T[:6], LIMB)[1]).max() > 0.1
