"""Faults under load: what ``toonify serve`` does when processes die, disks fill and requests are hostile."""
