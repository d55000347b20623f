"""A command with parts, one of which is meant when none is named."""

from __future__ import annotations

import click


class WithUsual(click.Group):
    """`consort dead --run R` is `consort dead list --run R`. No argument of the usual part is named like a part."""

    usual = "list"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [self.usual, *args]
        return super().parse_args(ctx, args)
