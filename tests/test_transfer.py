"""What is simulated for networks that are to read real ECGs, and the real records that may adjust it."""

import numpy as np

from ecgstudy.data.cohort import real_cohort
from ecgstudy.studies import leaderboard, transfer


def test_development_records_are_two_folds_of_the_real_board_and_share_no_patient_with_the_others(real_data):
    cohort = real_cohort(100)
    there = transfer.development(cohort)
    np.testing.assert_array_equal(there, leaderboard.fold_of("real", cohort) < 2)
    assert there.sum() == len(transfer._listed())
    patient = cohort.table["patient_id"]
    assert not set(patient[there]) & set(patient[~there])
