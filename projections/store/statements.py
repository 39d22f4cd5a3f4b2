"""The statements by which PostgreSQL keeps read models; `{schema}` is that of the generation."""

ENTRY = """
select kind, subject_id, version, id, type, at, topic, partition, "offset", actor, project, task, correlation,
       causation, verdict, data
  from"""

REMEMBER = """
insert into {schema}.history (kind, subject_id, version, id, type, at, topic, partition, "offset", actor, project,
                              task, correlation, causation, verdict, data)
select * from unnest(%b::text[], %b::text[], %b::bigint[], %b::text[], %b::text[], %b::timestamptz[], %b::text[],
                     %b::int[], %b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
                     %b::bytea[])
on conflict do nothing
"""

STATE = """
insert into {schema}.states as s (kind, id, version, "offset", state, at)
select * from unnest(%b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bytea[], %b::timestamptz[])
on conflict (kind, id) do update
   set version = excluded.version, "offset" = excluded."offset", state = excluded.state, at = excluded.at
 where s.version < excluded.version
"""

STATES = """
select s.kind, s.id, s.version, s.state, s.at from {schema}.states s
  join unnest(%s::text[], %s::text[]) as k (kind, id) on s.kind = k.kind and s.id = k.id
"""

MILESTONES = """
insert into {schema}.milestones (kind, id, version, at, partition, "offset", event, state)
values (%s, %s, %s, %s, %s, %s, %s, %b) on conflict do nothing
"""

LAST_MILESTONES = """
select k.kind, k.id, m.version, m.bytes from unnest(%s::text[], %s::text[]) as k (kind, id)
 cross join lateral (
    select version, octet_length(state) as bytes from {schema}.milestones
     where kind = k.kind and id = k.id order by version desc limit 1
 ) m
"""

# What is given says which index has them in order: of one story, time and place never fall while the version rises.
MILESTONE = 'select version, at, partition, "offset", event, state from {schema}.milestones where kind = %s and id = %s'

SINCE = """
select k.kind, k.id, h.type, h.data, h.at from unnest(%s::text[], %s::text[]) as k (kind, id)
  left join {schema}.states s on s.kind = k.kind and s.id = k.id
  join {schema}.history h on h.kind = k.kind and h.subject_id = k.id and h."offset" > coalesce(s."offset", -1)
   and h.version > coalesce(s.version, 0)
 order by h.partition, h."offset"
"""

MOVE = """
update {schema}.positions p set next_offset = m.upto
  from unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) as m (topic, partition, since, upto)
 where p.topic = m.topic and p.partition = m.partition and p.next_offset = m.since
"""

ENSURE = """
insert into {schema}.positions (topic, partition, next_offset)
select topic, partition, 0 from unnest(%s::text[], %s::int[]) as k (topic, partition)
on conflict do nothing
"""

# PostgreSQL reads no JSON that has a NUL in any of its texts, whatever is looked for in it.
READABLE = r"""
(case when strpos(doc, '\u0000') = 0 then doc
      else regexp_replace(doc, '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g') end)::json
""".strip()
