"""Truth and errors of a batch, as tests need them."""

import torch

from radiodiff import units
from radiodiff.scoring import PROTOCOLS, MapSums, reduce_sums, score_maps


def city_errors(path_gain_db, batch):
    """Numbers of each map alone, under our protocol."""
    sums = score_maps(path_gain_db, batch, PROTOCOLS["city"])
    alone = [MapSums(*(x[k : k + 1] for x in sums)) for k in range(len(batch.name))]
    values = [reduce_sums(one, ["0"], PROTOCOLS["city"]) for one in alone]
    return {metric: torch.tensor([v[metric][0] for v in values]) for metric in values[0]}


def truth(batch):
    return units.model_to_path_gain_db(batch.radio_map).double()
