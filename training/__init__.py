"""Networks, data and what trains them. The modules here bear official names; their parts are in the rooms."""
