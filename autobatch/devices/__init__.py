"""What memory there is, how much of it a trial used, and how to hold a trial to a budget.

Every device answers the same questions (``base.Device``); what one cannot tell is ``None``,
never a made-up number.
"""
