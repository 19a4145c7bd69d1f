package sim_test

// mutant is a deliberate bug: edits of the sources, applied when it is built, so that production code carries no hooks.
type mutant struct {
	rule  string // of the commit (docs/adr/0003), or empty
	name  string
	edits []edit
}

// edit replaces a text that a file has once.
type edit struct{ file, old, new string }

const (
	session     = "internal/commit/session.go"
	transaction = "internal/commit/transaction.go"
	transacting = "internal/transact/transact.go"
	restoring   = "internal/restore/restore.go"
	standing    = "internal/restore/standing.go"
	ledger      = "internal/settle/ledger.go"
	watching    = "internal/settle/watch.go"
	settlement  = "internal/settle/settle.go"
	simClient   = "internal/sim/client.go"
	simSession  = "internal/sim/session.go"
	simProcess  = "internal/sim/process.go"
	simDisk     = "internal/sim/disk.go"
)

// mutants are a bug for each rule of the commit and for what else must not go wrong, and the bugs that the simulator has
// found in the product, put back.
var mutants = []mutant{
	{"1", "departed instances' transactions are left open", []edit{{
		standing, "	var departed []string\n", "	if len(open) > 0 {\n		return nil\n	}\n	var departed []string\n",
	}}},
	{"1", "the ids are not initialised before the group is joined", []edit{{
		simProcess, "err := client.Reinit(context.Background()) // rule 1", "err := error(nil) // rule 1",
	}}},
	{"2", "a session ends while its commit is under way", []edit{{
		simSession, "	for s.committing {\n", "	for false {\n",
	}}},
	{"2", "the last commit is made in the next generation", []edit{
		{session, "// Shut is the", "// Carry is wrong.\nfunc (s *Session) Carry(m Member) { s.member = m }\n\n// Shut is the"},
		{simProcess, "	err = s.close(c)\n	p.unclean = p.unclean || err != nil\n", "	p.late = s\n"},
		{simProcess, "	s := &session{process: p,", "	if p.late != nil {\n		p.late.session.Carry(member)\n		_ = p.late.close(c)\n		p.late, p.unclean = nil, true\n	}\n	s := &session{process: p,"},
		{simProcess, "	unclean   bool\n", "	unclean   bool\n	late      *session\n"},
	}},
	{"3", "changelog records go out before the last outcome is known", []edit{
		{session, "	turn      int //", "	busy      bool\n	early     map[Producer]bool\n	turn      int //"},
		{session, "	s.grew(unit.Task.Upper().Size() - before)\n	return nil\n}\n\n// Tick", `	if s.busy && len(s.producers) == 2 {
		next, upper := s.producers[s.turn], unit.Task.Upper()
		if s.early[next] || next.Begin(context.Background()) == nil {
			s.early[next] = true
			for ; upper.ChangelogSent < len(upper.Changelog); upper.ChangelogSent++ {
				next.Send(&upper.Changelog[upper.ChangelogSent], nil)
			}
		}
	}
	s.grew(unit.Task.Upper().Size() - before)
	return nil
}

// Tick`},
		{transaction, "	if err := producer.Begin(ctx); err != nil {\n", `	s.busy = true
	defer func() { s.busy = false }()
	begin := producer.Begin
	if s.early == nil {
		s.early = map[Producer]bool{}
	}
	if s.early[producer] {
		delete(s.early, producer)
		begin = func(context.Context) error { return nil }
	}
	if err := begin(ctx); err != nil {
`},
		{transaction, "		for i := range layer.Changelog {\n", "		for i := layer.ChangelogSent; i < len(layer.Changelog); i++ {\n"},
	}},
	{"4", "an unanswered transaction is taken for committed", []edit{{
		transaction, "		if err := s.resolve(ctx, producer, tx, err); err != nil {\n			return err\n		}\n", "",
	}}},
	{"4", "another owner's sequence is taken for one's own", []edit{
		{transaction, "	if err := s.group.Current(ctx, s.member); err != nil {\n		return failed(err)\n	}\n	if err := producer.Recover", "	if err := producer.Recover"},
		{transaction, "	if err := s.group.Current(ctx, s.member); err != nil {\n		return failed(err)\n	}\n	if happened <", "	if happened <"},
	}},
	{"4", "zombie not fenced: offsets without generation and member", []edit{{
		transacting, "t.client.CommitOffsets(ctx, LogMember(member),", "t.client.CommitOffsets(ctx, log.Member{Group: member.Group, Generation: -1},",
	}}},
	{"4", "the metadata has no sequence", []edit{{
		transaction, "meta.Offset{Sequence: part.layer.Sequence, StreamTime", "meta.Offset{StreamTime",
	}}},
	{"5", "a transaction without output is not ended", []edit{{
		simClient, "	if !tx.produced && !tx.offsets {\n		return log.Committed, nil\n", "	if !tx.produced {\n		return log.Committed, nil\n",
	}}},
	{"6", "the session goes on after an abort", []edit{{
		transaction, "		return errors.Join(ErrAborted, err)\n	case Unknown:", "		for _, part := range tx.parts {\n			part.unit.Task.Committed()\n		}\n		return nil\n	case Unknown:",
	}}},
	{"7", "rows are kept without a copy", []edit{{
		"internal/task/state.go", "ownKey, ownValue := layer.arena.copy(key), layer.arena.copy(value)", "ownKey, ownValue := layer.arena.copy(key), value",
	}}},
	{"8", "a restore ends at the last stable offset it finds", []edit{{
		simSession, "b.partition(place).end()", "b.partition(place).lastStable()",
	}}},
	{"9", "old checkpoints are believed", []edit{{
		restoring, "	case s.config.tooOld(have):\n", "	case false:\n",
	}}},
	{"10", "draining leaves the static member behind", []edit{{
		simProcess, "		p.world.brokers.group.leave(p.machine.instance)\n", "",
	}}},
	{"11", "older brokers are not told of the group", []edit{{
		simClient, "	if !c.world.profile.implicit {\n", "	if false {\n",
	}}},
	{"", "commit before flush", []edit{
		{transacting, "	err := t.client.Flush(ctx)\n	if err == nil {\n", "	var err error\n	{\n"},
		{simClient, "		if err := c.Flush(ctx); err != nil {\n", "		if err := error(nil); err != nil {\n"},
	}},
	{"", "state before commit", []edit{
		{transaction, "	s.send(producer, tx)\n", "	s.send(producer, tx)\n	for _, part := range tx.parts {\n		if err := part.apply(s.now()); err != nil {\n			return err\n		}\n	}\n"},
		{transaction, "	for _, part := range tx.parts {\n		if err := part.apply(s.now()); err != nil {\n			return err\n		}\n	}\n	s.remember", "	s.remember"},
	}},
	{"", "offsets not in the transaction", []edit{{
		transacting, "		err = t.client.CommitOffsets(ctx, LogMember(member), Positions(offsets))\n", `		t.pending.Settle()
		if _, err = t.client.End(ctx, true); err == nil {
			if err = t.client.Begin(); err == nil {
				err = t.client.CommitOffsets(ctx, LogMember(member), Positions(offsets))
			}
		}
`,
	}}},
	{"", "tail not replayed", []edit{{
		restoring, "		s.next = have.Offset\n", "		s.next = end\n",
	}}},
	{"", "marker mistaken for a record", []edit{{
		restoring, "s.next = record.Offset + 1; control {", "s.next = record.Offset + 1; false {",
	}}},
	{"", "a torn write is believed", []edit{{
		simDisk, "func() error { return d.engine.Apply(batch) })", `func() error {
		if d.broken == nil {
			return d.engine.Apply(batch)
		}
		torn, rest := store.NewMemory(), store.NewBatch()
		if err := torn.Apply(batch); err != nil {
			return err
		}
		for _, at := range torn.Checkpoints() {
			rest.SetCheckpoint(at)
		}
		return d.engine.Apply(rest)
	})`,
	}}},
	{"", "remembered commands are not restored", []edit{{
		"internal/task/restore.go", "	if extra != nil && spec.Derive != nil {\n", "	if false {\n",
	}}},
	{"", "checkpoints say more than was acknowledged", []edit{{
		"internal/commit/unit.go", "next := offset + 1;", "next := offset + 2;",
	}}},
	{"", "found: the first offsets are committed plainly", []edit{
		{simSession, "commit.First(s.ctx, p.producers[0], s.member, restore.Unstarted(standings, next))", "s.plainly(c, restore.Unstarted(standings, next))"},
		{simSession, "// endDeparted ends", `// plainly is wrong.
func (s *session) plainly(c *coroutine, first map[commit.Place]int64) error {
	if len(first) == 0 {
		return nil
	}
	g, who := s.process.world.brokers.group, transact.LogMember(s.member)
	_, err := retry(s.ctx, c, func() (bool, error) {
		if err := g.validate(who); err != nil {
			return false, err
		}
		g.records++
		for place, next := range first {
			g.offsets[place] = stableOffset{next: next, metadata: meta.Offset{}.String(), order: g.records}
			g.brokers.observe.offset(place, g.offsets[place])
		}
		return true, nil
	})
	return transact.Translate(err)
}

// endDeparted ends`},
	}},
	{"", "found: a first commit of others is taken for a lost offset", []edit{{
		standing, "if fenced := group.Current(ctx, member); fenced != nil {", "if fenced := error(nil); fenced != nil {",
	}}},
	{"", "found: a slow restore passes over others' commits", []edit{{
		restoring, "	if s.passed {\n", "	if false {\n",
	}}},
	{"", "left out: what is undecided is not ended", []edit{{
		ledger, "who Producer, commit bool, open Places) error {\n", "who Producer, commit bool, open Places) error {\n	if who.ID > 0 {\n		return nil\n	}\n",
	}}},
	{"", "left out: what was committed is aborted", []edit{{
		ledger, "l.settle(ctx, who, true, open)", "l.settle(ctx, who, false, open)",
	}}},
	{"", "left out: what was aborted is committed", []edit{{
		ledger, "l.settle(ctx, who, false, open)", "l.settle(ctx, who, true, open)",
	}}},
	{"", "left out: nobody is asked at the start", []edit{{
		ledger, "	l.group, l.outputs, l.doubtful = group, outputs, true\n", "	_, _ = group, outputs\n",
	}}},
	{"", "left out: commits are not watched", []edit{{
		watching, "	if where.none() {\n", "	if where, failed = sent.places(), nil; failed == nil {\n",
	}}},
	{"", "left out: the partition of the offsets is not looked at", []edit{{
		settlement, "	where := Places{Partitions: Partitions{}, Group: s.Group}\n", "	where := Places{Partitions: Partitions{}}\n",
	}}},
	{"", "left out: that it was ended is believed, not asked", []edit{{
		ledger, "		if open = left; open.none() {\n", "		if open = left; err == nil {\n",
	}}},
	{"", "left out: departed instances' are not looked for", []edit{{
		simSession, "b.openAnywhere(p.unstable > unstablePatience)", "b.openTransactions(), nil",
	}}},
}
