// Lets a Python program under valgrind tell callgrind which part of it to count: a library for ctypes.
#include <valgrind/callgrind.h>

int is_counting(void)
{
    return RUNNING_ON_VALGRIND != 0;
}

void begin_counting(void)
{
    CALLGRIND_START_INSTRUMENTATION;
}

// What was counted since begin_counting is written into a file of its own, which names the work.
void end_counting(const char *work)
{
    CALLGRIND_STOP_INSTRUMENTATION;
    CALLGRIND_DUMP_STATS_AT(work);
}
