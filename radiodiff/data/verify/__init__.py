"""Is a dataset whole and sound? Counts, every file's state, and what its values say.

`verify_dataset` looks at a folder in RadioMapSeer's layout and returns a report that JSON can
hold; `format_report` makes text of it. What should be there is told by ``dataset.json``, or, where
there is none, is the real RadioMapSeer (355 408 files; C. Yapar et al., *Dataset of Pathloss and
ToA Radio Maps*, arXiv:2212.11777). Nothing in a folder makes the check stop: whatever cannot be
read is a fault and has a name in the report.
"""

from radiodiff.data.verify.digests import check_digests
from radiodiff.data.verify.report import format_report, verify_dataset

__all__ = ["check_digests", "format_report", "verify_dataset"]
