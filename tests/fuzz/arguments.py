"""Arguments for every public function: valid ones, and values that somebody might pass instead.

A valid call is drawn first. A nearly valid one has one argument changed a little, or taken from
another call; a hostile one has any object in any place.
"""

from __future__ import annotations

from typing import Any

from calls import Calls
from values import Call


class Draw(Calls):
    """Draws calls; the same ones for the same seed."""

    def valid(self) -> Call:
        kinds = [
            self.grid, self.edge_list, self.edge_weight, self.mst, self.affinity, self.filter,
            self.mass, self.leaf_to_root, self.root_to_leaf, self.distance, self.distance_transform,
            self.distance_matrix, self.from_parents, self.cat, self.index, self.tree_fields,
            self.graph_fields, self.layer, self.dendrogram, self.dendrogram_fields, self.altitude,
            self.cut, self.linkage, self.watershed, self.malis_pairs, self.sigma_for_mass,
            self.persistence, self.random_tree, self.edge_lists, self.tree_property, self.device,
            self.nodes_as_tree, self.scan_layer, self.mrf_layer, self.tree_energy,
            self.energy_layer, self.research_code,
        ]  # fmt: skip
        return self.random.choice(kinds)()

    def places(self, call: Call) -> list[Any]:
        """Numbers and names of its arguments; not the object of a method."""
        method = call.name.startswith(("Tree.", "Graph.", "Dendrogram."))
        own = method and call.name not in ("Tree.from_parents", "Tree.cat")
        return [*range(own, len(call.arguments)), *call.keywords]

    def nearly_valid(self) -> Call:
        """A valid call with one argument changed."""
        call = self.valid()
        places = self.places(call)
        if not places:
            return call
        place = self.random.choice(places)
        holder: Any = call.keywords if isinstance(place, str) else call.arguments
        holder[place] = self.changed(holder[place])
        call.like_reference = False
        return call

    def hostile(self) -> Call:
        """A valid call with anything in one to three of its places."""
        call = self.valid()
        places = self.places(call)
        count = min(self.random.randint(1, 3), len(places))
        for place in self.random.sample(places, count):
            holder: Any = call.keywords if isinstance(place, str) else call.arguments
            holder[place] = self.anything()
        if self.random.random() < 0.1:
            call.arguments.append(self.anything())
        call.like_reference = False
        return call
