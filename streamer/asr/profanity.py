"""English words that `text.profanity = true` masks: few, and such that hardly mean anything else."""

from __future__ import annotations

_STEMS = ("fuck", "motherfuck")
_ENDINGS = ("", "s", "ed", "er", "ers", "in", "ing")
_OTHERS = """
    shit shits shitty shitting bullshit horseshit dipshit shithead shitshow
    arse arsehole arseholes asshole assholes dumbass jackass smartass
    bitch bitches bitching bitchy bastard bastards cunt cunts twat twats wanker wankers
    bollocks bugger goddamn goddammit damn damned dammit piss pissed pissing prick pricks
    cocksucker cocksuckers dickhead dickheads slut sluts whore whores
    nigger niggers faggot faggots retard retards
"""

PROFANITY = frozenset({stem + ending for stem in _STEMS for ending in _ENDINGS} | set(_OTHERS.split()))
"""In lower case."""
