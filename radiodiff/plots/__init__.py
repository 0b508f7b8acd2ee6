"""Figures; the only package that imports matplotlib."""

from radiodiff.plots.channels import plot_channels
from radiodiff.plots.errors import (
    plot_fingerprints,
    plot_nmse_rules,
    plot_scores,
    plot_tile_errors,
)
from radiodiff.plots.latents import (
    plot_compressions,
    plot_decoded,
    plot_error_over_distance,
    plot_kl_weight,
    plot_latent_histograms,
    plot_latents,
    plot_region_errors,
    plot_spectra,
)
from radiodiff.plots.maps import (
    plot_difference,
    plot_gray,
    plot_kinds,
    plot_outlines,
    plot_predictions,
    plot_radio_map,
    plot_sample,
)
from radiodiff.plots.network import (
    plot_costs,
    plot_filter_response,
    plot_heads,
    plot_pyramid,
    plot_relation_attention,
    plot_swin_windows,
    plot_unet,
)
from radiodiff.plots.process import plot_law, plot_law_errors, plot_over_time, plot_paths
from radiodiff.plots.propagation import (
    plot_calibration,
    plot_gain_over_distance,
    plot_scales,
    plot_value_shares,
)
from radiodiff.plots.samples import (
    plot_averaging,
    plot_coverage,
    plot_cut,
    plot_spread,
    plot_spread_and_error,
    plot_steps,
    plot_trajectory,
)
from radiodiff.plots.style import save_figure
from radiodiff.plots.training import plot_losses
from radiodiff.plots.transmitters import plot_covered_share, plot_transmitter_errors

__all__ = [
    "plot_averaging",
    "plot_calibration",
    "plot_channels",
    "plot_compressions",
    "plot_costs",
    "plot_coverage",
    "plot_covered_share",
    "plot_cut",
    "plot_decoded",
    "plot_difference",
    "plot_error_over_distance",
    "plot_filter_response",
    "plot_fingerprints",
    "plot_gain_over_distance",
    "plot_gray",
    "plot_heads",
    "plot_kinds",
    "plot_kl_weight",
    "plot_latent_histograms",
    "plot_latents",
    "plot_law",
    "plot_law_errors",
    "plot_losses",
    "plot_nmse_rules",
    "plot_outlines",
    "plot_over_time",
    "plot_paths",
    "plot_predictions",
    "plot_pyramid",
    "plot_radio_map",
    "plot_region_errors",
    "plot_relation_attention",
    "plot_sample",
    "plot_scales",
    "plot_scores",
    "plot_spectra",
    "plot_spread",
    "plot_spread_and_error",
    "plot_steps",
    "plot_swin_windows",
    "plot_tile_errors",
    "plot_trajectory",
    "plot_transmitter_errors",
    "plot_unet",
    "plot_value_shares",
    "save_figure",
]
