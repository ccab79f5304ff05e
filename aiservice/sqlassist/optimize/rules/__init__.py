"""The rules: each finds places where it fits and says what it would make of them; nothing is proven here but by keys.

They are tried in this order, one at a time; what is kept is decided by results and cost, not here.
"""

from collections.abc import Mapping

from aiservice.sqlassist.optimize.edit import Rule
from aiservice.sqlassist.optimize.rules import correlated, duplicates, filters, joins, sargable, subqueries

RULES: Mapping[str, Rule] = {
    "date_range": sargable.date_range,
    "moved_arithmetic": sargable.moved_arithmetic,
    "days_between": sargable.days_between,
    "uncast": sargable.uncast,
    "prefix": sargable.prefix,
    "uncoalesced": sargable.uncoalesced,
    "or_to_in": filters.or_to_in,
    "having_to_where": filters.having_to_where,
    "left_to_inner": joins.left_to_inner,
    "unused_join": joins.unused_join,
    "count_to_exists": subqueries.count_to_exists,
    "star_to_one": filters.star_to_one,
    "narrowed": filters.narrowed,
    "useless_order": duplicates.useless_order,
    "useless_distinct": duplicates.useless_distinct,
    "distinct_in_aggregate": duplicates.distinct_in_aggregate,
    "union_all": duplicates.union_all,
    "correlated_to_join": correlated.correlated_to_join,
    "not_in_to_not_exists": subqueries.not_in_to_not_exists,
    "in_to_join": subqueries.in_to_join,
    "in_to_exists": subqueries.in_to_exists,
    "or_to_union": filters.or_to_union,
}

__all__ = ["RULES"]
