"""The lifecycle table as a page, for docs/lifecycle.md. Printed from the rows that decide, so it cannot be wrong."""

from domain.instance.action import InstanceAction
from domain.instance.actions import ACTIONS
from domain.instance.state import VmState
from domain.tasks.decide import allowed_statuses


def page() -> str:
    """The page, in Markdown."""
    lines = [
        "# An instance's life",
        "",
        "Printed from the action table (`python -m domain.instance.lifecycle`); a test holds this page to it.",
        "",
        "`status` is derived from three facts: **vm_state** (what the instance is), the **task** (what is being",
        "done to it) and **power** (what the hypervisor last said). While a task runs, any action without",
        "*passes* is refused with that task's id.",
        "",
        "| action | what it does | from | to | already | while it runs | when it fails | passes | cancellable |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(action) for action in ACTIONS.values()]
    lines += ["", "## Steps", "", "| action | step | undo |", "|---|---|---|"]
    for action in ACTIONS.values():
        for step in action.flow.steps:
            undo = step.undo.__name__ if step.undo else f"none: {step.no_undo}"
            lines.append(f"| {action.name} (v{action.flow.version}) | {step.job.__name__} | {undo} |")
    lines += ["", "vm_state is one of: " + ", ".join(VmState) + ".", ""]
    return "\n".join(lines)


def _row(action: InstanceAction) -> str:
    cells = (
        action.name,
        action.help,
        allowed_statuses(action.begins) or "(new)",
        action.ends or "as it was",
        allowed_statuses(action.already) or "",
        action.during or "no change",
        action.fails or "as before",
        "yes" if action.passes else "",
        "yes" if action.cancellable else "no",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(page(), end="")
