import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Runs commands of Apache's mqadmin one after another in one JVM: one a line of the file named by its argument, words
 * separated by spaces. A line {@code === done} follows each command's output.
 */
public final class ManyCommands {
    private ManyCommands() {
    }

    public static void main(String[] arguments) throws Exception {
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            try {
                MQAdminStartup.main0(line.split(" "), null);
            } catch (Throwable failure) {
                failure.printStackTrace(System.out);
            }
            System.out.println();
            System.out.println("=== done");
            System.out.flush();
        }
        Runtime.getRuntime().halt(0);
    }
}
