"""Planted faults: deliberate defects put into a right port, to measure what the check can see.

A port's author adds kinds of their own by naming a list of :class:`Kind` in ``Port.faults``; :func:`everywhere`,
:func:`changes_tensor`, :func:`changes_setting` and :func:`changes_output` are what the catalogue itself is made of.
"""

from portproof.faults._kinds import Fault, Kind, Site, changes_output, changes_setting, changes_tensor, everywhere

__all__ = ["Fault", "Kind", "Site", "changes_output", "changes_setting", "changes_tensor", "everywhere"]
