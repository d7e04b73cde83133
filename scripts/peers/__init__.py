"""autobatch beside the finders that people use now, and beside an exhaustive oracle."""
