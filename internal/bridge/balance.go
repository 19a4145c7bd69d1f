package bridge

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/IBM/sarama"
)

// coPartitioned gives each member the same partitions of every topic that it reads. It tolerates members that read different
// topics, as they do while one version of an application replaces another instance by instance: partitions of a topic that
// an older instance does not know wait until it is replaced. goka's strict strategy would stop all instances meanwhile. That
// it lasts is a mistake, which a warning tells.
type coPartitioned struct {
	sarama.BalanceStrategy
	logger *slog.Logger
}

// Plan implements sarama.BalanceStrategy. The leader of the group calls it.
func (c coPartitioned) Plan(members map[string]sarama.ConsumerGroupMemberMetadata, topics map[string][]int32) (sarama.BalanceStrategyPlan, error) {
	for id, member := range members {
		var missing []string
		for topic := range topics {
			if !slices.Contains(member.Topics, topic) {
				missing = append(missing, topic)
			}
		}
		if slices.Sort(missing); len(missing) > 0 {
			c.logger.Warn("an instance of the group does not read all of its topics: they are not read on its partitions until it is replaced by the present version",
				"member", id, "missing", missing)
		}
	}
	plan, err := c.BalanceStrategy.Plan(members, topics)
	if err != nil {
		return nil, fmt.Errorf("sharing out the partitions: %w", err)
	}
	return plan, nil
}
