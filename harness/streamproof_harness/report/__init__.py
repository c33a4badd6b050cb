"""Results for people and machines: functions of a run's history and judgement alone."""
