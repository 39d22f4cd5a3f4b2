"""What is sent because of a fact. Only a live decision asks this; a replay never does, so it cannot send anything."""

from domain.core.messages import Key, Message, Outgoing, Topic
from domain.host.messages import PlaceInstance, ReleaseInstance
from domain.instance.state import Instance
from domain.network.messages import BindNetworkPort, UnbindNetworkPort
from domain.tasks.events import StepsDispatched
from domain.tasks.flow import calls
from domain.tasks.jobs import (
    BindPort,
    DispatchHostJobs,
    HostRef,
    JobCall,
    Place,
    Release,
    Reply,
    UnbindPort,
)


def outgoing(instance: Instance, event: StepsDispatched) -> Outgoing:
    """The message that asks for the steps of this dispatch, addressed to whoever does them."""
    task = instance.task
    assert task is not None
    assert task.dispatch is not None
    jobs = calls(task, event.dispatch.steps, event.dispatch.direction)
    first = jobs[0]
    reply = Reply(instance_id=instance.id, task_id=task.id, dispatch_id=event.dispatch.id, job_id=first.job_id)
    match first.name:
        case Place.__name__:
            return Outgoing(Topic.SCHEDULING, Key("cell", instance.cell), _place(instance, reply), key=instance.cell)
        case Release.__name__:
            host_id = instance.host.id if instance.host else ""
            release = ReleaseInstance(reply=reply, instance_id=instance.id, host_id=host_id)
            return Outgoing(Topic.SCHEDULING, Key("cell", instance.cell), release, key=instance.cell)
        case BindPort.__name__ | UnbindPort.__name__:
            return _port(instance, first, reply)
        case _:
            host = instance.host
            if host is None:
                raise TypeError(f"{first.name} needs a host, and instance {instance.id} has none")
            return _host_jobs(instance, host, task.id, event, jobs)


def _place(instance: Instance, reply: Reply) -> PlaceInstance:
    return PlaceInstance(
        reply=reply,
        instance_id=instance.id,
        project=instance.project,
        vcpus=instance.flavor.core,
        memory=instance.flavor.memory,
        disk=instance.disk,
        arch=instance.image.arch,
        zone=instance.zone,
        wanted_host=instance.wanted_host,
    )


def _port(instance: Instance, call: JobCall, reply: Reply) -> Outgoing:
    index = int(call.args["nic"])
    nic = instance.nics[index]
    message: Message
    if call.name == BindPort.__name__:
        message = BindNetworkPort(
            reply=reply,
            nic=index,
            port_id=nic.port_id or reply.job_id,
            keep_port=nic.keep_port,
            instance_id=instance.id,
            host_id=instance.host.id if instance.host else "",
            project=instance.project,
            ip=nic.ip,
        )
    else:
        message = UnbindNetworkPort(
            reply=reply, nic=index, instance_id=instance.id, port_id=nic.port_id, keep_port=nic.keep_port
        )
    return Outgoing(Topic.COMMANDS, Key("network", nic.network_id), message)


def _host_jobs(
    instance: Instance, host: HostRef, task_id: str, event: StepsDispatched, jobs: tuple[JobCall, ...]
) -> Outgoing:
    message = DispatchHostJobs(
        dispatch_id=event.dispatch.id,
        task_id=task_id,
        instance_id=instance.id,
        host_id=host.id,
        epoch=host.epoch,
        deadline=event.dispatch.deadline,
        guest=instance.guest(),
        jobs=jobs,
    )
    return Outgoing(Topic.JOBS, Key("instance", instance.id), message, key=host.id, partition=host.partition)
