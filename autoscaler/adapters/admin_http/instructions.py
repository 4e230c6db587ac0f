"""The instructions of operators, as endpoints.

The deployment is named in the body and not in the path: an id may be two dots, which clients remove
from a path together with what precedes them, and the request would concern all deployments.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from autoscaler.adapters.admin_http.decisions import DecisionRecorder
from autoscaler.adapters.admin_http.endpoints import ApiCall, Endpoint, Handler
from autoscaler.adapters.admin_http.responses import RequestFailed
from autoscaler.core.instructions import PausedChanges
from autoscaler.ports import (
    InstructionResult,
    NotResumed,
    OperatorRequests,
    RefusalKind,
    RequestRefused,
)
from autoscaler.wire.instruction_views import (
    EndOverrideRequest,
    InstructionsResponse,
    OverrideRequest,
    PauseRequest,
    RequestAccepted,
    ResumeRequest,
    ResumeRolloutRequest,
    UnpauseRequest,
)

_STATUS = {RefusalKind.NOT_FOUND: 404, RefusalKind.CONFLICT: 409, RefusalKind.NOT_YET: 503}

_ERRORS = {
    404: "There is no such deployment or instruction.",
    409: "The instance or the configuration does not allow it.",
    503: "The cluster has not been observed yet.",
}

ResumeAndSave = Callable[[str], Awaitable[str]]
"""Requests the start of a stopped deployment, and saves the request. Returns what happens next.

Raises:
    NotResumed: this instance may not start it now.
    RequestRefused: it is not stopped.
"""


def instruction_endpoints(
    requests: OperatorRequests, resume: ResumeAndSave, decisions: DecisionRecorder
) -> tuple[Endpoint, ...]:
    """
    Args:
        decisions: with the views of the instructions.
    """
    version = decisions.version

    async def instructions(_call: ApiCall) -> InstructionsResponse:
        views = decisions.instruction_views()
        return InstructionsResponse(autoscaler=version, instructions=views)

    async def pause(call: ApiCall) -> InstructionResult:
        body, changes = call.body, PausedChanges(call.body.changes)
        return await requests.pause(body.deployment, changes, body.for_s, call.caller, body.reason)

    async def unpause(call: ApiCall) -> InstructionResult:
        return await requests.unpause(call.body.deployment, call.caller, call.body.reason)

    async def override(call: ApiCall) -> InstructionResult:
        body = call.body
        return await requests.override(
            body.deployment, body.allocations, body.for_s, call.caller, body.reason
        )

    async def end_override(call: ApiCall) -> InstructionResult:
        return await requests.end_override(call.body.deployment, call.caller, call.body.reason)

    async def resume_rollout(call: ApiCall) -> InstructionResult:
        return await requests.resume_rollout(call.body.deployment, call.caller, call.body.reason)

    async def resume_one(call: ApiCall) -> InstructionResult:
        return InstructionResult(message=await resume(call.body.deployment), saved=True)

    changes: tuple[tuple[str, str, Any, Any], ...] = (
        ("pause", "Hold the allocations for a time", PauseRequest, pause),
        ("unpause", "End the pause of one deployment, or all pauses", UnpauseRequest, unpause),
        ("override", "Set a number of allocations for a time", OverrideRequest, override),
        ("end-override", "End the override of a deployment", EndOverrideRequest, end_override),
        (
            "resume-rollout",
            "Let a gradual rollout begin again, after it was reverted or while it waits",
            ResumeRolloutRequest,
            resume_rollout,
        ),
        (
            "resume",
            "Start a deployment that was stopped because it was idle",
            ResumeRequest,
            resume_one,
        ),
    )
    return (
        Endpoint(
            name="instructions",
            method="GET",
            path="/instructions",
            summary="The pauses and overrides that are in force",
            response=InstructionsResponse,
            handler=instructions,
        ),
        *[
            Endpoint(
                name=name.replace("-", "_"),
                method="POST",
                path=f"/{name}",
                summary=summary,
                response=RequestAccepted,
                handler=_accepting(handle, version),
                body=body,
                status=202,
                errors=_ERRORS,
            )
            for name, summary, body, handle in changes
        ],
    )


def _accepting(handle: Callable[[ApiCall], Awaitable[InstructionResult]], version: str) -> Handler:
    async def handler(call: ApiCall) -> RequestAccepted:
        try:
            result = await handle(call)
        except RequestRefused as refused:
            raise RequestFailed(str(refused), _STATUS[refused.kind]) from refused
        except NotResumed as refused:
            raise RequestFailed(str(refused), 409) from refused
        return RequestAccepted(autoscaler=version, message=result.message, saved=result.saved)

    return handler
